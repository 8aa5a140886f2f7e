import { connect, type Socket } from 'node:net';
import { AbortedError, errorLine, NbdConnectionError } from '../../errors.js';
import { describeAddress, type NbdAddress } from '../protocol/uri.js';
import { type DirectReceiver, receiveDirectly, SocketPipe } from './socket-pipe.js';

export interface ConnectOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A plain connection that receives straight into its sink's memory. */
export async function openPipe(address: NbdAddress, options: ConnectOptions): Promise<SocketPipe> {
  const receiver = receiveDirectly();
  const socket = await openSocket(address, options, receiver);
  const pipe = new SocketPipe(socket, describeAddress(address));
  receiver.bind(pipe);
  return pipe;
}

/**
 * Connects a socket.
 * @throws NbdConnectionError (NBD_CONNECT_FAILED) naming the address and the system's error.
 */
export async function openSocket(
  address: NbdAddress,
  options: ConnectOptions,
  receiver?: DirectReceiver,
): Promise<Socket> {
  if (options.signal?.aborted) throw new AbortedError('connect', options.signal.reason);
  const target =
    address.kind === 'unix'
      ? { path: address.path }
      : { host: address.host, port: address.port, noDelay: true };
  const socket = connect(receiver ? { ...target, onread: receiver.onread } : target);
  try {
    await connected(socket, options);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error instanceof AbortedError ? error : connectFailed(address, error);
  }
}

function connected(socket: Socket, { timeoutMs, signal }: ConnectOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new AbortedError('connect', signal?.reason));
    const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    socket.once('connect', () => {
      settle();
      resolve();
    });
    // Stays: an error between here and the pipe's own listener must not bring the process down.
    socket.on('error', error => {
      settle();
      reject(error);
    });
  });
}

const CONNECT_HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'the socket file does not exist: is the backup job (or the NBD server) running?',
  ECONNREFUSED: 'nobody listens there: is the backup job (or the NBD server) running?',
  EACCES: 'no permission to open the socket: run as its owner or as root',
  ENOTFOUND: 'the host name is unknown',
};

function connectFailed(address: NbdAddress, cause: unknown): NbdConnectionError {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  // A name with several addresses fails with one error for each of them and no words of its own.
  const reasons = cause instanceof AggregateError ? cause.errors : [cause];
  return new NbdConnectionError(
    'NBD_CONNECT_FAILED',
    `cannot connect to ${describeAddress(address)}: ${reasons.map(errorLine).join('; ')}`,
    {
      cause,
      hint: CONNECT_HINTS[code] ?? 'check the address and that the NBD server runs',
      retryable: true,
      fields: { address: describeAddress(address), errno: code },
    },
  );
}
