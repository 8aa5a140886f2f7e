import { readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Action, SweepRequest } from '../front-end.js';
import type { Host } from '../host/host.js';
import { isMissing } from '../host/host-failure.js';
import { listCommands } from '../host/process-start.js';
import { parseRunName } from '../run-name.js';
import { endServers, removeBitmaps, socketOf } from './end-images.js';
import type { ImageDisk } from './image-disks.js';
import { escapeOption } from './image-options.js';

/** Ends what dead runs of the owner left at these images, found by names alone: servers, folders, bitmaps. */
export async function sweepImages(
  host: Host,
  base: string,
  disks: readonly ImageDisk[],
  { owner, keep, isAlive }: SweepRequest,
): Promise<readonly Action[]> {
  const isDead = (name: string) => {
    const run = parseRunName(name);
    return run !== undefined && (owner === undefined || run.owner === owner) && !isAlive(run.text);
  };
  const actions: Action[] = [];
  for (const folder of await deadFolders(base, disks, isDead)) {
    actions.push(...(await endServers(folder)));
    await host.removeFolder(folder);
    actions.push({ what: 'file-removed', name: folder, text: `folder ${folder} removed` });
  }
  const kept = new Set(keep.map(({ name }) => name));
  for (const { info, reference } of disks) {
    const names = info.bitmaps.map(({ name }) => name).filter(name => isDead(name) && !kept.has(name));
    actions.push(...(await removeBitmaps([reference], names)));
  }
  return actions;
}

/** Folders of dead runs: those where a server of these images listens, and those of the base that nobody serves from. */
async function deadFolders(
  base: string,
  disks: readonly ImageDisk[],
  isDead: (name: string) => boolean,
): Promise<readonly string[]> {
  const servers = (await listCommands()).flatMap(({ argv }) => {
    const socket = socketOf(argv);
    return socket === undefined ? [] : [{ folder: dirname(socket), argv }];
  });
  const isOurs = (argv: readonly string[]) =>
    disks.some(({ reference }) => argv.at(-1)?.includes(escapeOption(reference.path)));
  const served = servers.filter(({ argv }) => isOurs(argv)).map(({ folder }) => folder);
  const busy = new Set(servers.map(({ folder }) => folder));
  const idle = (await entriesOf(base)).map(name => `${base}/${name}`).filter(folder => !busy.has(folder));
  return [...new Set([...served, ...idle])].filter(folder =>
    isDead(folder.slice(folder.lastIndexOf('/') + 1)),
  );
}

async function entriesOf(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
