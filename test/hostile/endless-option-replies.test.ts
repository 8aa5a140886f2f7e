import { expect, it } from 'vitest';
import { GREETING, honestAnswer, optionReply } from '../support/scripted-nbd.js';
import { wire } from '../support/wire-bytes.js';
import { connectFailure, expectNoHandlesLeft } from './hostile-client.js';

expectNoHandlesLeft();

/** 64 KiB of information that nobody asked for. */
const BIG = wire(optionReply(7, 3, `7777 ${'00'.repeat(65534)}`));

it('a server that answers one option without end takes neither memory nor time without end', async () => {
  const error = await connectFailure(
    async peer => {
      peer.send(GREETING);
      await peer.take(4);
      for (let option = 0; option !== 7; ) {
        ({ option } = await peer.option());
        if (option !== 7) peer.send(honestAnswer(option, { size: 4096 }));
      }
      while (!peer.isGone && !peer.socket.destroyed) {
        if (!peer.socket.write(BIG)) {
          await Promise.race([peer.gone(), new Promise(resolve => peer.socket.once('drain', resolve))]);
        }
      }
    },
    { handshakeTimeoutMs: 20_000 },
  );
  expect(error).toMatchObject({
    code: 'NBD_PROTOCOL',
    message: expect.stringMatching(/replies to NBD_OPT_GO/),
  });
});
