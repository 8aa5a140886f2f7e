import { afterEach, beforeEach, expect } from 'vitest';
import { NbdeltaError } from '#nbdelta/errors.js';
import { connectNbd, type NbdClient } from '#nbdelta/nbd/client/client.js';
import type { ClientOptions } from '#nbdelta/nbd/client/client-options.js';
import { waitFor } from '../support/processes.js';
import { type HonestExport, negotiate } from '../support/scripted-nbd.js';
import { type Script, type ScriptedServer, startScriptedServer } from '../support/scripted-server.js';

/** Impatient, so that a test of silence is short; one connection and no retry, so that one error is one error. */
export const IMPATIENT: ClientOptions = {
  connections: 1,
  handshakeTimeoutMs: 400,
  timeoutMs: 400,
  retries: 0,
  retryDelayMs: 5,
};

/** Far more than any of these tests waits on purpose: what is not settled then is pending for ever. */
const PENDING_MS = 5_000;

/** The error that `promise` rejects with, at once or soon; a promise that stays pending fails the test. */
export async function failure(promise: Promise<unknown>): Promise<NbdeltaError> {
  let timer: NodeJS.Timeout | undefined;
  const pending = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the promise stays pending')), PENDING_MS);
  });
  try {
    await Promise.race([promise, pending]);
  } catch (error) {
    if (!(error instanceof NbdeltaError)) throw error;
    expect(error.message).not.toMatch(/\n/);
    return error;
  } finally {
    clearTimeout(timer);
  }
  throw new Error('the promise was fulfilled, an error was expected');
}

export interface HostileCase extends AsyncDisposable {
  readonly server: ScriptedServer;
  readonly client: NbdClient;
}

/** Starts a server that negotiates honestly and then does `transmit`, and connects to it. */
export async function connectToScript(
  disk: HonestExport,
  transmit: Script,
  options: ClientOptions = {},
): Promise<HostileCase> {
  const server = await startScriptedServer(async (peer, index) => {
    await negotiate(peer, disk);
    await transmit(peer, index);
  });
  const client = await connectNbd(server.uri, { ...IMPATIENT, ...options });
  return {
    server,
    client,
    async [Symbol.asyncDispose]() {
      await client.close();
      // Nothing of a closed client is left on the wire; the server learns of it in the next turns.
      await waitFor(() => server.open === 0, 'the end of all connections', 2_000);
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The error of connecting to a server that does `script`. */
export async function connectFailure(script: Script, options: ClientOptions = {}): Promise<NbdeltaError> {
  await using server = await startScriptedServer(script);
  const error = await failure(connectNbd(server.uri, { ...IMPATIENT, ...options }));
  await waitFor(() => server.open === 0, 'the end of all connections', 2_000);
  return error;
}

const OURS = /^(Pipe|TCP|TLS)/;

function handles(): string {
  return process
    .getActiveResourcesInfo()
    .filter(name => OURS.test(name))
    .sort()
    .join(' ');
}

/** In a file: after each of its tests no socket is open that was not open before. */
export function expectNoHandlesLeft(): void {
  let before = '';
  beforeEach(() => {
    before = handles();
  });
  afterEach(async () => {
    await waitFor(() => handles() === before, `no socket left; before: ${before}`, 2_000);
  });
}
