import { type OpenChain, openChainArchives } from '../chain/open-chain.js';
import { errorLine } from '../errors.js';
import type { NbdClient } from '../nbd/client/client.js';
import type { PlannedDisk } from '../repository/disk-level.js';
import { type LevelPlan, planLevel } from '../repository/level.js';
import type { MachineStore } from '../repository/machine-store.js';
import type { Manifest, Reason } from '../repository/manifest.js';
import type { PointList } from '../repository/point-list.js';
import { chainPoints, type UnreadablePoint } from '../repository/point-order.js';
import { bitmapState, type DiskJob, planJob } from './backup-disk.js';
import type { CheckedDisk, CheckedOptions } from './backup-options.js';
import { describeSource } from './machine-source.js';
import { isUnreadable } from './rescan-disk.js';

/** What a backup is to do. */
export interface RunPlan {
  readonly plan: LevelPlan;
  /** In the order of the disks. */
  readonly jobs: readonly DiskJob[];
  /** What the point builds on. */
  readonly parent: Manifest | undefined;
}

/**
 * Decides on the level of the point and of every disk; reads manifests, and the indexes of chains to be compared with.
 * @param clients in the order of the disks.
 * @throws ChainError when the level that was asked for cannot be had.
 */
export async function planRun(
  machine: MachineStore,
  list: PointList,
  options: CheckedOptions,
  clients: readonly NbdClient[],
): Promise<RunPlan> {
  const broken = [...list.unreadable, ...(await findTorn(machine, list, options))];
  const plan = planWith(list, broken, new Map(), options, clients);
  const unreadable = await findUnreadable(machine, list, plan);
  // What cannot be read cannot be compared with: then the plan is another one.
  return unreadable.size === 0 ? plan : planWith(list, broken, unreadable, options, clients);
}

/** Opens the chain of a disk of the point that is built on. */
export async function openBase(
  machine: MachineStore,
  { points }: PointList,
  parent: Manifest,
  disk: string,
): Promise<OpenChain> {
  return await openChainArchives(machine, await machine.openChain(points, parent.id, disk));
}

/** Points of the chain that would be built on whose files are not all there. */
async function findTorn(
  machine: MachineStore,
  { points }: PointList,
  { level }: CheckedOptions,
): Promise<UnreadablePoint[]> {
  if (level === 'full' || level === 'copy') return [];
  const bases = chainPoints(points).filter(
    point => level !== 'differential' || point.manifest.level === 'full',
  );
  const parent = bases.at(-1);
  return parent === undefined ? [] : await machine.findTorn(points, parent);
}

/** Disks that would be compared with a chain that cannot be opened, and why. */
async function findUnreadable(
  machine: MachineStore,
  list: PointList,
  { jobs, parent }: RunPlan,
): Promise<ReadonlyMap<string, Reason>> {
  const unreadable = new Map<string, Reason>();
  for (const { disk, plan } of jobs) {
    if (plan.method !== 'rescan' || parent === undefined) continue;
    try {
      await using _chain = await openBase(machine, list, parent, disk.name);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      unreadable.set(disk.name, { code: 'chain-broken', text: errorLine(error) });
    }
  }
  return unreadable;
}

function planWith(
  list: PointList,
  brokenPoints: readonly UnreadablePoint[],
  unreadable: ReadonlyMap<string, Reason>,
  { disks, level, rescan, since, fullEvery, maxChain }: CheckedOptions,
  clients: readonly NbdClient[],
): RunPlan {
  const plan = planLevel({
    requested: level,
    points: list.points,
    brokenPoints,
    ...(rescan !== undefined && { rescan }),
    ...(since !== undefined && { since }),
    ...(fullEvery !== undefined && { fullEvery }),
    ...(maxChain !== undefined && { maxChain }),
    disks: disks.map((disk, index) => plannedDisk(disk, clients[index]!, unreadable.get(disk.name))),
  });
  const parent = list.points.find(point => point.manifest.id === plan.parent?.id)?.manifest;
  const jobs = disks.map((disk, index) => planJob(disk, clients[index]!, plan.disks[index]!, parent));
  return { plan, jobs, parent };
}

function plannedDisk(disk: CheckedDisk, client: NbdClient, unreadableBase: Reason | undefined): PlannedDisk {
  return {
    name: disk.name,
    size: client.size,
    source: disk.source ?? describeSource(disk.uri),
    bitmap: bitmapState(disk, client),
    bitmapName: disk.bitmap,
    ...(disk.noBitmap && { noBitmap: disk.noBitmap }),
    ...(disk.distrustIfResized && { distrustIfResized: true }),
    ...(unreadableBase && { unreadableBase }),
  };
}
