import { randomBytes } from 'node:crypto';
import { openArchiveWriter } from '../archive/v1/archive-writer.js';
import { bitmapContext, readChangeMap } from '../changes/change-map.js';
import type { FramePool } from '../codec/frame-pool.js';
import { ExtentKind, type ExtentList } from '../extents/extent-list.js';
import { connectNbd, type NbdClient } from '../nbd/client/client.js';
import { CONTEXT_BASE_ALLOCATION } from '../nbd/protocol/constants.js';
import type { DiskPlan } from '../repository/disk-level.js';
import type { ArchiveEntry, Manifest, StoredDisk } from '../repository/manifest.js';
import type { PointWriter } from '../repository/point-writer.js';
import type { CheckedDisk, CheckedOptions } from './backup-options.js';
import { describeSource } from './machine-source.js';
import { storeDisk } from './store-disk.js';

/** Connects to a disk's export and asks for its allocation and its bitmap. */
export async function connectDisk(disk: CheckedDisk, options: CheckedOptions): Promise<NbdClient> {
  const wantsBitmap = options.level !== 'full' && options.level !== 'copy' && disk.noBitmap === undefined;
  return connectNbd(disk.uri, {
    contexts: wantsBitmap ? [CONTEXT_BASE_ALLOCATION, bitmapContext(disk.bitmap)] : [CONTEXT_BASE_ALLOCATION],
    ...(options.connections !== undefined && { connections: options.connections }),
    ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
    ...(options.retries !== undefined && { retries: options.retries }),
    ...(options.signal && { signal: options.signal }),
  });
}

/** Whether the server offers the bitmap that says what changed. */
export function bitmapState(disk: CheckedDisk, client: NbdClient): 'granted' | 'missing' | 'notRequested' {
  if (disk.noBitmap !== undefined) return 'missing';
  if (client.contexts.includes(bitmapContext(disk.bitmap))) return 'granted';
  return disk.bitmapNamed ? 'missing' : 'notRequested';
}

/** Everything that storing one disk needs. */
export interface DiskJob {
  readonly disk: CheckedDisk;
  readonly client: NbdClient;
  readonly plan: DiskPlan;
  /** The disk in the parent point, when the new archive builds on it. */
  readonly base: StoredDisk | undefined;
}

/** Finds a disk's base: the parent point's archive, unless the disk gets a full of its own. */
export function planJob(
  disk: CheckedDisk,
  client: NbdClient,
  plan: DiskPlan,
  parent: Manifest | undefined,
): DiskJob {
  const isDelta = plan.level === 'incremental' || plan.level === 'differential';
  const before = isDelta ? parent?.disks.find(entry => entry.name === disk.name) : undefined;
  return { disk, client, plan, base: before?.status === 'stored' ? before : undefined };
}

/** Reads a disk's change map: all of it for a full, the bitmap's part (and what the disk grew by) otherwise. */
export async function mapDisk(job: DiskJob, options: CheckedOptions): Promise<ExtentList> {
  const { client, disk, base } = job;
  return readChangeMap(client, {
    bitmap: base ? disk.bitmap : undefined,
    changedFrom: base?.size,
    block: client.info.blockSize.minimum,
    signal: options.signal,
    onProgress: done => options.onProgress?.({ phase: 'map', disk: disk.name, done, total: client.size }),
  });
}

/** Reads, seals and writes one disk into the point. When it rejects, its volumes are still to be aborted. */
export async function backUpDisk(
  job: DiskJob,
  changes: ExtentList,
  point: PointWriter,
  pool: FramePool,
  options: CheckedOptions,
): Promise<StoredDisk> {
  const { client, disk, base, plan } = job;
  const writer = await openArchiveWriter({
    archiveId: randomBytes(16).toString('hex'),
    parentArchiveId: base?.archive.archiveId ?? null,
    disk: disk.name,
    size: client.size,
    frameSize: options.frameSize,
    codec: options.codec,
    openVolume: volume => point.createVolume(volumeName(disk.name, volume)),
  });
  try {
    const total = changes.total(ExtentKind.data);
    const readBytes = await storeDisk({
      reader: client,
      changes,
      writer,
      pool,
      frameSize: options.frameSize,
      signal: options.signal,
      onProgress: done => options.onProgress?.({ phase: 'data', disk: disk.name, done, total }),
    });
    options.onProgress?.({ phase: 'finish', disk: disk.name, done: total, total });
    const { volumes, ...summary } = await writer.finish();
    const archive: ArchiveEntry = {
      ...summary,
      parentArchiveId: base?.archive.archiveId ?? null,
      codec: options.codec.text,
      frameSize: options.frameSize,
      volumes: volumes.map(({ volume, bytes }) => ({ name: volumeName(disk.name, volume), bytes })),
    };
    return { ...describeDisk(job), level: plan.level, status: 'stored', readBytes, archive };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** What a manifest says of a disk, stored or failed. */
export function describeDisk({ disk, client, plan, base }: DiskJob) {
  return {
    name: disk.name,
    source: disk.source ?? describeSource(disk.uri),
    ...(disk.format !== undefined && { format: disk.format }),
    size: client.size,
    level: plan.level,
    reason: plan.reason,
    bitmap: base ? disk.bitmap : null,
  };
}

/** File name of a disk's volume, from 1. */
export function volumeName(disk: string, volume: number): string {
  return `${disk}.${String(volume).padStart(4, '0')}.tar`;
}
