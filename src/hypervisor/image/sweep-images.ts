import { basename, dirname, join } from 'node:path';
import type { Action, SweepRequest } from '../front-end.js';
import type { Host } from '../host/host.js';
import { parseRunName } from '../run-name.js';
import { removeBitmaps, removeSocketFolder } from './end-images.js';
import type { ImageDisk } from './image-disks.js';
import { endServers, findServers } from './server-processes.js';

/** Ends what dead runs of the owner left at these images, found by names alone: servers, folders, bitmaps. */
export async function sweepImages(
  host: Host,
  base: string,
  disks: readonly ImageDisk[],
  request: SweepRequest,
): Promise<readonly Action[]> {
  const { owner, keep, isAlive } = request;
  const isDead = (name: string) => {
    const run = parseRunName(name);
    return run !== undefined && (owner === undefined || run.owner === owner) && !isAlive(run.text);
  };
  const served = await foldersServing(disks);
  // Without an owner nothing tells whose an idle folder is: a living run's of another guest has its socket there.
  const idle = owner === undefined ? [] : await idleFolders(host, base);
  const actions: Action[] = [];
  for (const folder of [...served, ...idle].filter(path => isDead(basename(path)))) {
    actions.push(...(await endServers(folder)), ...(await removeSocketFolder(host, folder)));
  }
  const kept = new Set(keep.map(({ name }) => name));
  for (const { info, reference } of disks) {
    const names = info.bitmaps.map(({ name }) => name).filter(name => isDead(name) && !kept.has(name));
    actions.push(...(await removeBitmaps([reference], names)));
  }
  return actions;
}

/** Folders from which one of these images is served, wherever they are. */
async function foldersServing(disks: readonly ImageDisk[]): Promise<readonly string[]> {
  const paths = new Set(disks.map(({ reference }) => reference.path));
  const servers = (await findServers()).filter(({ image }) => image !== undefined && paths.has(image));
  return [...new Set(servers.map(({ socket }) => dirname(socket)))];
}

/** Folders that nobody serves anything from. */
async function idleFolders(host: Host, base: string): Promise<readonly string[]> {
  const busy = new Set((await findServers()).map(({ socket }) => dirname(socket)));
  const folders = (await host.listFolder(base)).map(name => join(base, name));
  return folders.filter(folder => !busy.has(folder));
}
