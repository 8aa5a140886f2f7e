import { expect, it } from 'vitest';
import { connectFailure, expectNoHandlesLeft } from './hostile-client.js';

expectNoHandlesLeft();

it.each([
  ['an HTTP server', 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'],
  ['an SSH server', 'SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n'],
  ['control characters', '\x1b]0;owned\x07\x1b[2J\r\n\r\n\r\n\r\n'],
])('%s is not an NBD server', async (_name, greeting) => {
  const error = await connectFailure(async peer => {
    peer.send(Buffer.from(greeting));
    await peer.gone();
  });
  expect(error).toMatchObject({ code: 'NBD_HANDSHAKE_FAILED', retryable: false });
  expect(error.message).toMatch(/is not an NBD server/);
  expect(error.message).not.toMatch(/\p{Cc}/u);
});

it('NBDMAGIC with an unknown second word is none either', async () => {
  const error = await connectFailure(async peer => {
    peer.send('4e42444d41474943 49484156454f5055 0003');
    await peer.gone();
  });
  expect(error).toMatchObject({ code: 'NBD_HANDSHAKE_FAILED' });
});
