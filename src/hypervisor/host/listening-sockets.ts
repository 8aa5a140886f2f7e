import { basename, dirname } from 'node:path';
import { parseRunName } from '../run-name.js';
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

/** The runs that a socket is bound for, in a folder called like one, wherever that is: somebody's job is alive there. */
export function servedRuns(sockets: readonly string[]): ReadonlySet<string> {
  return new Set(sockets.flatMap(socket => parseRunName(basename(dirname(socket)))?.text ?? []));
}
