import { connect } from 'node:net';
import { HypervisorError } from '../../errors.js';
import type { Host } from '../host/host.js';
import type { NbdServerPlace } from './job-details.js';
import { queryExports } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';
import { QmpCommandError } from './qmp-error.js';

/** More than any machine has sockets. */
const MAX_SOCKET_TABLE = 64 << 20;

/**
 * Starts QEMU's NBD server: it has only one.
 * @throws HypervisorError JOB_CONFLICT when it runs already: it is somebody else's, and is not touched.
 */
export async function startNbdServer(
  client: QmpClient,
  place: NbdServerPlace,
  tlsCreds: string | undefined,
): Promise<void> {
  const addr =
    place.kind === 'unix'
      ? { type: 'unix', data: { path: place.socket } }
      : { type: 'inet', data: { host: place.host, port: String(place.port) } };
  try {
    await client.execute('nbd-server-start', {
      addr,
      ...(tlsCreds === undefined ? {} : { 'tls-creds': tlsCreds }),
    });
  } catch (error) {
    if (!(error instanceof QmpCommandError) || error.code !== 'JOB_CONFLICT') throw error;
    throw await serverRuns(client, error);
  }
}

async function serverRuns(client: QmpClient, cause: QmpCommandError): Promise<HypervisorError> {
  const exports = (await queryExports(client)).filter(({ type }) => type === 'nbd').map(({ id }) => id);
  const seen = exports.length === 0 ? 'without exports' : `with exports ${exports.join(', ')}`;
  return new HypervisorError(
    'JOB_CONFLICT',
    `QEMU's NBD server runs already, ${seen}; it was not touched, and QEMU has only one`,
    {
      cause,
      hint: 'another backup may run: let it finish, or stop that server (QMP nbd-server-stop) if nobody needs it',
      fields: { exports },
    },
  );
}

/**
 * Whether somebody listens at a unix socket. The system's table is asked first: a connection that comes and goes just
 * before the server is stopped is what crashes a QEMU without the fix of CVE-2024-7409.
 */
export async function isListening(host: Host, socket: string): Promise<boolean> {
  if (!(await host.exists(socket))) return false;
  const table = await host.readFile('/proc/net/unix', MAX_SOCKET_TABLE);
  const lines = Buffer.from(table ?? [])
    .toString('utf8')
    .split('\n');
  // A QEMU in another network namespace is not in our table.
  return lines.some(line => line.endsWith(` ${socket}`)) || (await takesConnection(socket));
}

async function takesConnection(path: string): Promise<boolean> {
  const socket = connect({ path });
  try {
    return await new Promise(resolve => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
  } finally {
    socket.destroy();
  }
}
