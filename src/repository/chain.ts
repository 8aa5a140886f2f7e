import { ChainError, RepositoryError } from '../errors.js';
import type { DiskEntry, Manifest, Point, StoredDisk } from './manifest.js';
import { isMeant, PointIndex } from './point-index.js';

/** One archive of a chain: the disk as one point stored it. */
export interface ChainLink {
  readonly point: Manifest;
  readonly disk: StoredDisk;
}

const RESTORE_FOLDER =
  'Bring its folder back from a copy of the repository, or use a point of another chain.';

/**
 * What is needed to read one disk of one point: its archives from the full to the wanted point. Every link is
 * checked to be the very one its child was stored on.
 * @throws RepositoryError POINT_UNKNOWN, DISK_UNKNOWN.
 * @throws ChainError CHAIN_MISSING, CHAIN_FOREIGN, CHAIN_ORDER.
 */
export function openChain(points: readonly Point[], pointId: string, diskName: string): ChainLink[] {
  const index = new PointIndex(points);
  const wanted = index.find(pointId);
  if (wanted === undefined) {
    throw new RepositoryError('POINT_UNKNOWN', `there is no point ${pointId}`, {
      hint: 'List the points of the machine to see which there are.',
    });
  }
  let link: ChainLink = { point: wanted.manifest, disk: findWantedDisk(wanted.manifest, diskName) };
  const links = [link];
  while (!isBase(link.disk)) {
    link = parentLink(index, link);
    links.push(link);
  }
  return links.reverse();
}

/**
 * A point and everything before it in its chain, newest first.
 * @throws ChainError CHAIN_MISSING, CHAIN_FOREIGN, CHAIN_ORDER.
 */
export function ancestryOf(points: readonly Point[], point: Point): Point[] {
  const index = new PointIndex(points);
  const ancestry = [point];
  for (let at = point; at.manifest.parent !== null; ) {
    at = parentPoint(index, at.manifest);
    ancestry.push(at);
  }
  return ancestry;
}

/** As much of {@link ancestryOf} as can be read: it ends before the first link that is missing or out of order. */
export function readableAncestry(points: readonly Point[], point: Point): Point[] {
  const index = new PointIndex(points);
  const ancestry = [point];
  for (let at = point; at.manifest.parent !== null; ) {
    const parent = index.parent(at.manifest.parent);
    if (parent === undefined || parent.manifest.sequence >= at.manifest.sequence) break;
    ancestry.push(parent);
    at = parent;
  }
  return ancestry;
}

function isBase(disk: StoredDisk): boolean {
  return disk.level === 'full' || disk.level === 'copy';
}

function findWantedDisk(point: Manifest, name: string): StoredDisk {
  const disk = findDisk(point, name);
  if (disk?.status === 'stored') return disk;
  if (disk !== undefined) {
    const why = `${disk.error.message} (${disk.error.code})`;
    throw new RepositoryError('DISK_UNKNOWN', `disk ${name} is not in point ${point.id}: it failed: ${why}`, {
      hint: 'Use an earlier or later point that has this disk.',
      fields: { point: point.id, disk: name },
    });
  }
  const names = point.disks.map(entry => entry.name);
  throw new RepositoryError('DISK_UNKNOWN', `point ${point.id} has no disk ${name}`, {
    hint: `It has: ${names.join(', ')}.`,
    fields: { point: point.id, disk: name, disks: names },
  });
}

function findDisk(point: Manifest, name: string): DiskEntry | undefined {
  return point.disks.find(disk => disk.name === name);
}

/**
 * The point that `child` builds on. Its sequence must be lower, which also rules out a circle.
 * @throws ChainError CHAIN_MISSING, CHAIN_FOREIGN, CHAIN_ORDER.
 */
export function parentPoint(index: PointIndex, child: Manifest): Point {
  if (child.parent === null) {
    throw new ChainError('CHAIN_ORDER', `point ${child.id} builds on another one, but names none`, {
      hint: 'Its manifest contradicts itself: use another point.',
    });
  }
  const parent = index.parent(child.parent);
  if (parent === undefined) {
    const message = `point ${child.parent.id} is missing, and point ${child.id} builds on it`;
    const fields = { point: child.id, missing: child.parent.id };
    throw new ChainError('CHAIN_MISSING', message, { hint: RESTORE_FOLDER, fields });
  }
  if (!isMeant(parent, child.parent)) throw foreignManifest(child, parent);
  if (parent.manifest.sequence < child.sequence) return parent;
  throw new ChainError(
    'CHAIN_ORDER',
    `point ${child.id} has sequence ${child.sequence}, but its parent ${parent.manifest.id} has ${parent.manifest.sequence}`,
    { hint: 'Points were mixed up: use a point of another chain, and take a full.' },
  );
}

function foreignManifest(child: Manifest, parent: Point): ChainError {
  return new ChainError(
    'CHAIN_FOREIGN',
    `point ${parent.manifest.id} is not the one that point ${child.id} was stored on: its manifest has SHA-256 ${parent.sha256}, expected ${child.parent?.manifestSha256}`,
    { hint: RESTORE_FOLDER, fields: { point: child.id, parent: parent.manifest.id } },
  );
}

function parentLink(index: PointIndex, child: ChainLink): ChainLink {
  const point = parentPoint(index, child.point).manifest;
  const { name, archive } = child.disk;
  const disk = findDisk(point, name);
  if (disk?.status !== 'stored') {
    const what = disk === undefined ? 'has no such disk' : 'failed to store it';
    const message = `disk ${name} of point ${child.point.id} builds on point ${point.id}, which ${what}`;
    throw new ChainError('CHAIN_ORDER', message, {
      hint: 'This disk cannot be read from this point: use an earlier one, and take a full.',
      fields: { point: child.point.id, parent: point.id, disk: name },
    });
  }
  if (archiveIdsOf(point, disk).includes(archive.parentArchiveId)) return { point, disk };
  throw new ChainError(
    'CHAIN_FOREIGN',
    `disk ${name} of point ${child.point.id} was stored on archive ${archive.parentArchiveId}, but point ${point.id} has archive ${disk.archive.archiveId}`,
    { hint: RESTORE_FOLDER, fields: { point: child.point.id, parent: point.id, disk: name } },
  );
}

/** What a child may name as the archive that it was stored on. */
function archiveIdsOf({ standsFor }: Manifest, { name, archive }: StoredDisk): (string | null | undefined)[] {
  return [archive.archiveId, ...standsFor.map(entry => entry.archives[name])];
}
