import type { Host } from './host.js';

/** Longest table of sockets that is read. Bytes. */
const MAX_TABLE = 16 << 20;

/** Paths of the host's bound unix sockets; none where the system has no such list. */
export async function listeningSockets(host: Host): Promise<readonly string[]> {
  const table = await host.readFile('/proc/net/unix', MAX_TABLE);
  const lines = Buffer.from(table ?? [])
    .toString('utf8')
    .split('\n');
  return lines.flatMap(line => /\s(\/.*)$/.exec(line)?.[1] ?? []);
}

/** Whether one of the sockets is in the folder: then somebody's job is alive there. */
export function isServedFrom(sockets: readonly string[], folder: string): boolean {
  return sockets.some(socket => socket.startsWith(`${folder}/`));
}
