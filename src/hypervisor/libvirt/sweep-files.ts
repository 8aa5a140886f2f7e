import { join } from 'node:path';
import { errorLine, HypervisorError } from '../../errors.js';
import type { Action } from '../front-end.js';
import type { Host } from '../host/host.js';
import { listeningSockets, servedRuns } from '../host/listening-sockets.js';
import { LocalHost } from '../host/local-host.js';
import { defaultSocketBase } from '../host/socket-folder.js';
import { findRunName } from '../run-name.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { DEFAULT_SCRATCH } from './scratch.js';
import { parseNames } from './virsh-output.js';

/** Something on the host's disk that is called like a run. */
interface Leftover {
  readonly run: string;
  readonly path: string;
}

/**
 * Removes scratch files and socket folders of dead runs. The same owner may have jobs at other domains of this host
 * (a vendor's sessions): what a running job uses, or a server listens at, is not dead, whoever says so.
 */
export async function sweepFiles(
  connection: LibvirtConnection,
  isDead: (run: string) => boolean,
): Promise<readonly Action[]> {
  try {
    const { host, options } = connection;
    const base = options.socketDir ?? (await defaultSocketBase(host));
    const scratch = await leftovers(host, options.scratch ?? DEFAULT_SCRATCH, isDead);
    const folders = await leftovers(host, base, isDead);
    if (scratch.length + folders.length === 0) return [];
    const busy = await busyRuns(connection);
    const served = servedRuns(await listeningSockets(host));
    const isUnused = ({ run }: Leftover) => !busy.has(run) && !served.has(run);
    const actions: Action[] = [];
    for (const file of scratch.filter(isUnused)) actions.push(...(await removeFile(host, file)));
    for (const folder of folders.filter(isUnused)) actions.push(...(await removeFolder(host, folder)));
    return actions;
  } catch (error) {
    // The folders may be another user's; the guest itself is in order.
    if (!(error instanceof HypervisorError)) throw error;
    return [{ what: 'left', name: 'files', text: `files of dead runs may be left: ${errorLine(error)}` }];
  }
}

async function leftovers(
  host: Host,
  folder: string,
  isDead: (run: string) => boolean,
): Promise<readonly Leftover[]> {
  const names = await host.listFolder(folder);
  return names.flatMap(name => {
    const run = findRunName(name)?.text;
    return run !== undefined && isDead(run) ? [{ run, path: join(folder, name) }] : [];
  });
}

/** Runs whose jobs are active at any domain of this libvirt. */
async function busyRuns(connection: LibvirtConnection): Promise<ReadonlySet<string>> {
  const runs = new Set<string>();
  for (const uuid of parseNames(await connection.virsh.run('list', { options: { uuid: true } }))) {
    try {
      const backup = await connection.backup(uuid.trim());
      for (const run of backup?.runs ?? []) runs.add(run);
    } catch (error) {
      // Shut down and undefined since the list was made.
      if (!(error instanceof HypervisorError) || error.code !== 'GUEST_UNKNOWN') throw error;
    }
  }
  return runs;
}

async function removeFile(host: Host, { path }: Leftover): Promise<readonly Action[]> {
  return await unlessLeft(path, async () => {
    if (!(await host.removeFile(path))) return [];
    return [{ what: 'file-removed', name: path, text: `scratch file ${path} of a dead run was removed` }];
  });
}

async function removeFolder(host: Host, { run, path }: Leftover): Promise<readonly Action[]> {
  return await unlessLeft(path, async () => {
    if (!host.isLocal) await removeForwarded(host, run);
    await host.removeFolder(path);
    return [{ what: 'file-removed', name: path, text: `folder ${path} of a dead run was removed` }];
  });
}

async function removeForwarded(host: Host, run: string): Promise<void> {
  const local = new LocalHost();
  const forwarded = join(await defaultSocketBase(local), run);
  await host.unforward(forwarded);
  await local.removeFolder(forwarded);
}

/** In a folder for temporary files anybody may put something that cannot be removed: it keeps no backup from its work. */
async function unlessLeft(path: string, work: () => Promise<readonly Action[]>): Promise<readonly Action[]> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    return [{ what: 'left', name: path, text: `what is called like a dead run stays: ${errorLine(error)}` }];
  }
}
