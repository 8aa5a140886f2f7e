import type { MachineLock } from './lock.js';
import { type MachineRecord, withRemoved, withRemoving } from './machine-record.js';
import type { Point } from './manifest.js';
import { removePointFolder } from './point-folder.js';
import { latestPoint } from './point-order.js';
import { type FoundReader, findReaders, isHolding } from './reader-lease.js';
import type { StorageBackend } from './storage-backend.js';

/** A point that is none any more, but whose files stay until its readers end. */
export interface HeldPoint {
  readonly id: string;
  readonly readers: readonly FoundReader[];
}

export interface RemovedPoints {
  /** Ids. */
  readonly removed: readonly string[];
  readonly held: readonly HeldPoint[];
}

/** The machine that points are removed from. */
export interface RemovalPlace {
  readonly backend: StorageBackend;
  readonly machine: string;
  readonly record: MachineRecord;
  /** What can be seen of the machine now. */
  readonly points: readonly Point[];
  writeRecord(record: MachineRecord): Promise<void>;
}

/**
 * Removes points: first nobody sees them any more, then those that nobody reads go, in the order given. What is held by a
 * reader stays until the next call. A crash at any time leaves points that are hidden and removed later.
 */
export async function removePoints(
  lock: MachineLock,
  ids: readonly string[],
  { backend, machine, record, points, writeRecord }: RemovalPlace,
): Promise<RemovedPoints> {
  const left = latestPoint(points.filter(point => !ids.includes(point.manifest.id)));
  const hiding = withRemoving(record, ids, left);
  await writeRecord(hiding);
  const readers = await findReaders(backend, machine);
  const removed: string[] = [];
  const held: HeldPoint[] = [];
  for (const id of hiding.removing ?? []) {
    const holding = readers.filter(reader => isHolding(reader, id));
    if (holding.length > 0) {
      held.push({ id, readers: holding });
      continue;
    }
    await lock.checkStillHeld();
    await removePointFolder(backend, `${machine}/${id}`);
    removed.push(id);
  }
  await writeRecord(withRemoved(hiding, new Set(removed)));
  return { removed, held };
}
