import { dirname, join } from 'node:path';
import { errorLine, HypervisorError } from '../../errors.js';
import type { Action, SweepRequest } from '../front-end.js';
import type { Host } from '../host/host.js';
import { listeningSockets, servedRuns } from '../host/listening-sockets.js';
import { socketPath } from '../host/socket-folder.js';
import { findRunName, parseRunName, type RunName } from '../run-name.js';
import { isOf, isOurNode, runOfFolder } from './names.js';
import { queryExports, queryJobs, queryNodes } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';
import { removeBitmaps, removeFolders, tearDown } from './tear-down.js';

/** Where runs of this front-end put their folders. */
export interface RunPlaces {
  readonly scratch: string;
  readonly sockets: string;
}

/**
 * Ends what dead runs of the owner left, found by names alone. Their bitmaps go unless they are to be kept: nobody can
 * have committed them.
 */
export async function sweepRuns(
  client: QmpClient,
  host: Host,
  places: RunPlaces,
  request: SweepRequest,
): Promise<readonly Action[]> {
  const isOurs = (run: RunName) => request.owner === undefined || run.owner === request.owner;
  const isDead = (run: RunName) => isOurs(run) && !request.isAlive(run.text);
  const found = await findRuns(client, host, places);
  const actions: Action[] = [];
  for (const { run, folders } of found.filter(({ run }) => isDead(run))) {
    actions.push(...(await endDeadRun(client, host, places, run, folders)));
  }
  const keep = new Set(request.keep.map(({ name }) => name));
  const isLeft = (name: string) => {
    const run = parseRunName(name);
    return run !== undefined && isDead(run) && !keep.has(name);
  };
  actions.push(...(await removeBitmaps(client, isLeft)));
  return actions;
}

interface FoundRun {
  readonly run: RunName;
  readonly folders: readonly string[];
}

/**
 * Runs that jobs, exports, scratch files in use and folders tell of. One that only folders tell of may be alive at another
 * guest: then a server listens in its folder.
 */
async function findRuns(client: QmpClient, host: Host, places: RunPlaces): Promise<readonly FoundRun[]> {
  const runs = new Map<string, { run: RunName; folders: Set<string> }>();
  const note = (run: RunName | undefined, folder?: string) => {
    if (run === undefined) return;
    const entry = runs.get(run.text) ?? { run, folders: new Set() };
    runs.set(run.text, entry);
    if (folder !== undefined) entry.folders.add(folder);
  };
  for (const { id } of await queryExports(client)) note(findRunName(id));
  for (const { id } of await queryJobs(client)) note(findRunName(id));
  for (const node of await queryNodes(client)) {
    const folder = dirname(node.file);
    if (isOurNode(node['node-name']) && node.drv === 'file') note(runOfFolder(folder), folder);
  }
  const here = new Set(runs.keys());
  const served = servedRuns(await listeningSockets(host));
  const isElsewhere = (run: string) => !here.has(run) && served.has(run);
  for (const base of [places.scratch, places.sockets]) {
    for (const name of await host.listFolder(base)) {
      if (!isElsewhere(name)) note(parseRunName(name), join(base, name));
    }
  }
  return [...runs.values()].map(({ run, folders }) => ({ run, folders: [...folders] }));
}

async function endDeadRun(
  client: QmpClient,
  host: Host,
  places: RunPlaces,
  run: RunName,
  folders: readonly string[],
): Promise<readonly Action[]> {
  const folder = join(places.sockets, run.text);
  const ended = await tearDown(client, host, {
    run,
    server: { kind: 'unix', folder, socket: socketPath(folder) },
    ownsServer: false,
    folders: [],
    // Those that were committed are in nobody's way; which ones, the caller knows.
    bitmaps: false,
    // A guest that stands because of an I/O error, with a dead run's job under it, stands because of that.
    resume: (await queryJobs(client)).some(({ id }) => isOf(run, id)),
  });
  const removed: Action[] = [];
  for (const path of folders) removed.push(...(await removeFound(host, path)));
  return [...ended, ...removed];
}

/** In a folder for temporary files anybody may put something that cannot be removed: it keeps no backup from its work. */
async function removeFound(host: Host, path: string): Promise<readonly Action[]> {
  try {
    return await removeFolders(host, [path]);
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    return [{ what: 'left', name: path, text: `what is called like a dead run stays: ${errorLine(error)}` }];
  }
}
