import { ChainError } from '../errors.js';
import { ancestryOf, openChain } from './chain.js';
import { type DiskPlan, type PlannedDisk, planDisks, planRescannedDisk } from './disk-level.js';
import type { Manifest, Point, PointLevel, Reason, Since } from './manifest.js';
import { chainPoints, mayBeYounger, sortPoints, type UnreadablePoint } from './point-order.js';
import { resolveSince, type SinceAnswer } from './since.js';

export interface LevelRequest {
  readonly requested: PointLevel | 'auto';
  /** The machine's committed points, in any order. */
  readonly points: readonly Point[];
  /** Points known to be unusable: manifest unreadable or missing, or volumes missing. */
  readonly brokenPoints?: readonly UnreadablePoint[];
  /** What the bitmap records since: a checkpoint's label, a point's id, or `latest`. */
  readonly since?: string;
  /** With `auto`: a chain has at most this many points before the next full. */
  readonly fullEvery?: number;
  /** With `auto`: at most this many archives have to be read for a restore. */
  readonly maxChain?: number;
  /** With `auto` and `incremental`: compare every disk with the newest point, whatever the bitmaps say. */
  readonly rescan?: boolean;
  readonly disks: readonly PlannedDisk[];
}

export interface LevelPlan {
  readonly level: PointLevel;
  /** Why; `null` when this very level was asked for. */
  readonly reason: Reason | null;
  readonly parent: { readonly id: string; readonly manifestSha256: string } | null;
  readonly since: Since;
  readonly disks: readonly DiskPlan[];
}

const NO_SINCE: Since = { kind: 'none', label: null, point: null };
const RESCAN_REQUESTED: Reason = { code: 'rescan-requested', text: 'a rescan was asked for' };

/**
 * Decides what a new point is. Touches nothing.
 * - `full`: begins a chain. `copy`: a full outside of every chain.
 * - `incremental`: on the newest point, or the older one that its bitmap began with. `differential`: on the newest full.
 * - `auto`: incremental, each disk by its bitmap or else compared with the point before (a rescan), or a full where
 *   there is nothing to compare with; `reason` says what spoke against it.
 *
 * An incremental is only right on the very point that its bitmap began with. An older bitmap has more changes than the
 * newest point needs, but only as long as the disk went on from there: one that was rolled back to a copy from
 * before that point has clean bits where that point is to be undone. A rescan is right on any point: the newest one.
 * @throws ChainError when the level that was asked for cannot be had.
 */
export function planLevel(request: LevelRequest): LevelPlan {
  switch (request.requested) {
    case 'full':
    case 'copy':
      return planBase(request, request.requested, null);
    case 'incremental':
      return request.rescan
        ? planRescan(request, () => RESCAN_REQUESTED)
        : planByBitmap(request, 'incremental');
    case 'differential':
      return planByBitmap(request, 'differential');
    case 'auto':
      return planAuto(request);
  }
}

function planBase(request: LevelRequest, level: 'full' | 'copy', reason: Reason | null): LevelPlan {
  const disks = request.disks.map(({ name }) => ({ name, level, method: null, reason: null }));
  return { level, reason, parent: null, since: NO_SINCE, disks };
}

function planAuto(request: LevelRequest): LevelPlan {
  const newest = chainPoints(request.points).at(-1);
  if (newest === undefined && !isAnyBroken(request)) {
    return planBase(request, 'full', { code: 'first', text: 'the machine has no point yet' });
  }
  const broken = reasonOf('chain-broken', () => checkParentChain(request, newest));
  if (broken !== null || newest === undefined) return planBase(request, 'full', broken);
  const ancestry = ancestryOf(request.points, newest);
  const plan = planAutoDelta(request, ancestry);
  const tooMany = reasonByCount(request, fromPoint(ancestry, plan.parent?.id));
  if (tooMany !== null) return planBase(request, 'full', tooMany);
  if (plan.disks.some(disk => disk.level !== 'full')) return plan;
  // With every disk in full the point would keep its parent's chain alive for nothing.
  return planBase(request, 'full', plan.disks[0]?.reason ?? null);
}

/** By the bitmaps if at least one disk has one that will do, otherwise a rescan. */
function planAutoDelta(request: LevelRequest, ancestry: readonly Point[]): LevelPlan {
  if (request.rescan) return planRescan(request, () => RESCAN_REQUESTED);
  const mismatch = reasonOf('since-mismatch', () => requireSince(request, 'incremental', ancestry));
  if (mismatch !== null) return planRescan(request, () => mismatch);
  const plan = planByBitmap(request, 'incremental');
  if (plan.disks.some(({ method }) => method === 'bitmap')) return plan;
  return planRescan(request, index => plan.disks[index]?.reason ?? RESCAN_REQUESTED);
}

/** Every disk compared with the newest point; `reasonAt` says why each is. */
function planRescan(request: LevelRequest, reasonAt: (index: number) => Reason): LevelPlan {
  const parent = newestFor(request, 'incremental');
  const { id } = parent.manifest;
  const disks = request.disks.map((disk, index) =>
    planRescannedDisk(disk, parent.manifest, 'incremental', reasonAt(index)),
  );
  return {
    level: 'incremental',
    reason: { code: 'rescan', text: `compared with point ${id}: ${reasonAt(0).text}` },
    parent: { id, manifestSha256: parent.sha256 },
    since: NO_SINCE,
    disks,
  };
}

/** A point of an ancestry and everything before it. */
function fromPoint(ancestry: readonly Point[], id: string | null | undefined): readonly Point[] {
  return ancestry.slice(
    Math.max(
      0,
      ancestry.findIndex(point => point.manifest.id === id),
    ),
  );
}

function reasonByCount(request: LevelRequest, ancestry: readonly Point[]): Reason | null {
  const { fullEvery, maxChain } = request;
  const base = ancestry.at(-1)?.manifest.sequence ?? 0;
  const count = chainPoints(request.points).filter(point => point.manifest.sequence >= base).length;
  if (fullEvery !== undefined && count >= fullEvery) {
    return { code: 'full-every', text: `${count} points since the last full, a full every ${fullEvery}` };
  }
  const links = ancestry.length + 1;
  if (maxChain !== undefined && links > maxChain) {
    return {
      code: 'max-chain',
      text: `the chain would have ${links} links, at most ${maxChain} are allowed`,
    };
  }
  return null;
}

function planByBitmap(request: LevelRequest, level: 'incremental' | 'differential'): LevelPlan {
  const newest = newestFor(request, level);
  const ancestry = ancestryOf(request.points, newest);
  const since = requireSince(request, level, ancestry);
  const parent = fromPoint(ancestry, since.point)[0] ?? newest;
  const later =
    level === 'differential' ? laterPoints(request.points, parent) : after(request.points, parent);
  const seen = [parent, ...later].map(point => point.manifest) as [Manifest, ...Manifest[]];
  const disks = planDisks(request.disks, seen, level, request.requested === 'auto');
  if (request.requested !== 'auto') refuseWithoutBitmaps(request, disks, level);
  return {
    level,
    reason: request.requested === 'auto' ? { code: 'auto', text: `on point ${parent.manifest.id}` } : null,
    parent: { id: parent.manifest.id, manifestSha256: parent.sha256 },
    since,
    disks,
  };
}

/** The newest point that a delta could build on, with a chain that can be read. @throws ChainError. */
function newestFor(request: LevelRequest, level: 'incremental' | 'differential'): Point {
  const newest = chainPoints(request.points).findLast(
    point => level === 'incremental' || point.manifest.level === 'full',
  );
  checkParentChain(request, newest);
  if (newest !== undefined) return newest;
  throw new ChainError(
    'CHAIN_MISSING',
    `there is no point that ${level === 'incremental' ? 'an' : 'a'} ${level} could build on`,
    { hint: 'Take a full first, or ask for level auto.' },
  );
}

/** Disks may fall back one by one, but a point that was asked for by bitmaps must have one somewhere. */
function refuseWithoutBitmaps({ disks }: LevelRequest, plans: readonly DiskPlan[], level: string): void {
  const why = disks.find(disk => disk.noBitmap !== undefined)?.noBitmap;
  if (why === undefined || plans.some(plan => plan.method === 'bitmap')) return;
  throw new ChainError(
    'NBD_CONTEXT_MISSING',
    `cannot take ${level === 'incremental' ? 'an' : 'a'} ${level}: ${why.text}`,
    {
      hint: 'Compare everything with --rescan, take a full, or ask for level auto.',
      fields: { reason: why.code },
    },
  );
}

/**
 * What was seen of the disks between the full and now. Copies count as well: they show sizes too.
 * @throws ChainError when a point in between is missing: what it saw is unknown.
 */
function laterPoints(points: readonly Point[], base: Point): Point[] {
  const later = after(points, base);
  for (const point of chainPoints(later)) ancestryOf(points, point);
  return later;
}

function after(points: readonly Point[], base: Point): Point[] {
  return sortPoints(points).filter(point => point.manifest.sequence > base.manifest.sequence);
}

/** @throws ChainError when the chain that ends in `parent` cannot be read, as far as manifests tell. */
function checkParentChain(request: LevelRequest, parent: Point | undefined): void {
  const ancestry = parent === undefined ? [] : ancestryOf(request.points, parent);
  const chainIds = new Set(ancestry.map(point => point.manifest.id));
  // A broken point younger than the newest readable one may be the one that the bitmap stands for: then a
  // change before it would be lost.
  const broken = (request.brokenPoints ?? []).find(
    point => chainIds.has(point.id) || parent === undefined || mayBeYounger(point, parent, request.points),
  );
  if (broken !== undefined) throw unusable(broken);
  for (const disk of parent?.manifest.disks ?? []) {
    if (disk.status === 'stored') openChain(request.points, parent!.manifest.id, disk.name);
  }
}

function unusable({ id, error }: UnreadablePoint): ChainError {
  const code = error instanceof ChainError ? error.code : 'CHAIN_TORN';
  return new ChainError(code, `point ${id} is damaged, so nothing can build on it: ${error.message}`, {
    cause: error,
    hint: 'Repair it from a copy of the repository, or take a full.',
    fields: { ...error.fields, point: id },
  });
}

function isAnyBroken(request: LevelRequest): boolean {
  return (request.brokenPoints ?? []).length > 0;
}

function requireSince(request: LevelRequest, level: string, ancestry: readonly Point[]): Since {
  const answer: SinceAnswer = resolveSince(request.since, request.points, ancestry);
  if (answer.kind === 'ok') return answer.since;
  throw new ChainError(
    'CHAIN_ORDER',
    `cannot take ${level === 'incremental' ? 'an' : 'a'} ${level}: ${answer.text}`,
    {
      hint: 'Use a bitmap that began with the parent point or one before it, or compare everything with --rescan.',
    },
  );
}

/** What `work` has against an incremental, as the reason for a full; other errors than of chains pass. */
function reasonOf(code: string, work: () => unknown): Reason | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof ChainError) return { code, text: error.message };
    throw error;
  }
}
