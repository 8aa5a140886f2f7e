import { errorLine } from '../../errors.js';
import type { Action } from '../front-end.js';
import type { Host } from '../host/host.js';
import type { RunName } from '../run-name.js';
import type { NbdServerPlace } from './job-details.js';
import { isNodeOf, isOf } from './names.js';
import { isListening } from './nbd-server.js';
import { queryExports, queryJobs, queryNodes, queryStatus } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';
import type { QmpArguments } from './qmp-codec.js';
import { QmpCommandError } from './qmp-error.js';

/** What is to go of a run; everything in QEMU is found by the run's names. */
export interface TearDownTarget {
  readonly run: RunName;
  readonly server: NbdServerPlace;
  /** Whether the server is known to be the run's own, even when nothing shows it. */
  readonly ownsServer: boolean;
  /** Folders of the scratch files and of the socket. */
  readonly folders: readonly string[];
  /** Whether the bitmaps that began with the run go too. */
  readonly bitmaps: boolean;
  /** Whether a guest that stands because of an I/O error is let go on. */
  readonly resume: boolean;
}

type Target = TearDownTarget & { readonly client: QmpClient; readonly host: Host };

/**
 * Ends what a run made, in the order that never shows a reader the live disk: exports, server, jobs, nodes; then bitmaps
 * and files. Every step looks at what there is, so that it may have been interrupted anywhere, and another process may
 * do the same.
 */
export async function tearDown(
  client: QmpClient,
  host: Host,
  target: TearDownTarget,
): Promise<readonly Action[]> {
  const all: Target = { ...target, client, host };
  const actions: Action[] = [];
  const exports = await removeExports(all);
  actions.push(...exports);
  actions.push(...(await stopServer(all, exports.length > 0)));
  actions.push(...(await endJobs(all)));
  actions.push(...(await removeNodes(all)));
  if (target.bitmaps) actions.push(...(await removeBitmaps(client, name => name === target.run.text)));
  if (target.resume) actions.push(...(await resumeGuest(client)));
  actions.push(...(await removeFolders(host, target.folders)));
  return actions;
}

async function removeExports({ client, run }: Target): Promise<readonly Action[]> {
  const ids = (await queryExports(client)).map(({ id }) => id).filter(id => isOf(run, id));
  const find = async (id: string) => (await queryExports(client)).find(candidate => candidate.id === id);
  for (const id of ids) {
    await unlessGone(client, 'block-export-del', { id, mode: 'hard' }, async () => {
      return (await find(id))?.['shutting-down'] === false;
    });
    await client.until(`the end of export ${id}`, async () => (await find(id)) === undefined);
  }
  return ids.map(id => action('export-removed', id, `export ${id} removed`));
}

/** The server is the run's own when it had exports of the run, or listens at the run's own socket. */
async function stopServer(target: Target, hadExports: boolean): Promise<readonly Action[]> {
  const { client, host, server } = target;
  const isThere = async () => server.kind === 'unix' && (await isListening(host, server.socket));
  if (!hadExports && !target.ownsServer && !(await isThere())) return [];
  const name = server.kind === 'unix' ? server.socket : `${server.host}:${server.port}`;
  const others = (await queryExports(client)).filter(({ type }) => type === 'nbd').map(({ id }) => id);
  if (others.length > 0) {
    const text = `the NBD server at ${name} was left: somebody else added exports to it (${others.join(', ')})`;
    return [action('left', name, text)];
  }
  await unlessGone(client, 'nbd-server-stop', {}, isThere);
  return [action('server-stopped', name, `NBD server at ${name} stopped`)];
}

async function endJobs({ client, run }: Target): Promise<readonly Action[]> {
  const ids = (await queryJobs(client)).map(({ id }) => id).filter(id => isOf(run, id));
  for (const id of ids) await endJob(client, id);
  return ids.map(id => action('job-ended', id, `job ${id} ended`));
}

/** States in which a job cannot be cancelled any more, because it ends. */
const ENDING = ['aborting', 'concluded', 'null'];

async function endJob(client: QmpClient, id: string): Promise<void> {
  const status = async () => (await queryJobs(client)).find(job => job.id === id)?.status ?? 'null';
  if (!ENDING.includes(await status())) {
    await unlessGone(client, 'job-cancel', { id }, async () => !ENDING.includes(await status()));
  }
  await client.until(`the end of job ${id}`, async () => ['concluded', 'null'].includes(await status()));
  await unlessGone(client, 'job-dismiss', { id }, async () => (await status()) !== 'null');
}

/** Those that stand on others first: QEMU refuses to remove a node in use. */
async function removeNodes({ client, run }: Target): Promise<readonly Action[]> {
  const names = async () =>
    (await queryNodes(client)).map(node => node['node-name']).filter(name => isNodeOf(run, name));
  const order = (name: string) => (name.endsWith('-scratch') ? 0 : 1);
  const removed = (await names()).sort((one, other) => order(one) - order(other));
  for (const name of removed) {
    await unlessGone(client, 'blockdev-del', { 'node-name': name }, async () =>
      (await names()).includes(name),
    );
  }
  return removed.map(name => action('node-removed', name, `node ${name} removed`));
}

/** Removes bitmaps wherever they are: a snapshot may have moved the disk on to another node. */
export async function removeBitmaps(
  client: QmpClient,
  isMeant: (name: string) => boolean,
): Promise<readonly Action[]> {
  const actions: Action[] = [];
  for (const node of await queryNodes(client)) {
    for (const { name } of node['dirty-bitmaps']) {
      if (name !== undefined && isMeant(name))
        actions.push(...(await removeBitmap(client, node['node-name'], name)));
    }
  }
  return actions;
}

async function removeBitmap(client: QmpClient, node: string, name: string): Promise<readonly Action[]> {
  const isThere = async () =>
    (await queryNodes(client)).some(
      seen => seen['node-name'] === node && seen['dirty-bitmaps'].some(bitmap => bitmap.name === name),
    );
  try {
    await unlessGone(client, 'block-dirty-bitmap-remove', { node, name }, isThere);
    return [action('bitmap-removed', name, `bitmap ${name} removed from ${node}`)];
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    // It costs nothing but the tracking of writes; e.g. a backing file that is read-only now.
    return [action('left', name, `bitmap ${name} on ${node} stays: ${errorLine(error)}`)];
  }
}

/** QEMU pauses a guest whose write failed because the scratch space was full; now the write goes through. */
async function resumeGuest(client: QmpClient): Promise<readonly Action[]> {
  const status = await queryStatus(client);
  if (status !== 'io-error') return [];
  await client.execute('cont');
  return [action('guest-resumed', client.path, 'the guest, paused by an I/O error during the job, goes on')];
}

export async function removeFolders(host: Host, folders: readonly string[]): Promise<readonly Action[]> {
  const actions: Action[] = [];
  for (const folder of folders) {
    if (!(await host.exists(folder))) continue;
    await host.removeFolder(folder);
    actions.push(action('file-removed', folder, `folder ${folder} removed`));
  }
  return actions;
}

/** Somebody else, or the end of something else, may have been faster: then there is nothing to do. */
async function unlessGone(
  client: QmpClient,
  command: string,
  args: QmpArguments,
  isThere: () => Promise<boolean>,
): Promise<void> {
  try {
    await client.execute(command, args);
  } catch (error) {
    if (!(error instanceof QmpCommandError) || (await isThere())) throw error;
  }
}

function action(what: Action['what'], name: string, text: string): Action {
  return { what, name, text };
}
