import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { startScriptedServer } from '../support/scripted-server.js';
import { tempFolder } from '../support/temp-folder.js';
import { expectNoHandlesLeft, failure, IMPATIENT } from './hostile-client.js';

expectNoHandlesLeft();

it('the time for the handshake is over before there is a connection: no connection is waited for after it', async () => {
  await using folder = await tempFolder();
  const credentials = folder.file('ca-cert.pem');
  execFileSync('mkfifo', [credentials]);
  await using server = await startScriptedServer(peer => peer.hang());
  if (server.address.kind !== 'unix') throw new Error('unix only');
  const uri = `nbds+unix:///disk?socket=${server.address.socket}&tls-certificates=${folder.path}`;
  const connecting = failure(connectNbd(uri, { ...IMPATIENT, handshakeTimeoutMs: 50 }));
  await new Promise(resolve => setTimeout(resolve, 150));
  await writeFile(credentials, '\n');
  expect(await connecting).toMatchObject({ code: 'NBD_TIMEOUT' });
  expect(server.accepted).toBe(0);
});
