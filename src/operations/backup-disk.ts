import { randomBytes } from 'node:crypto';
import { openArchiveWriter } from '../archive/v1/archive-writer.js';
import type { OpenChain } from '../chain/open-chain.js';
import { bitmapContext, readChangeMap } from '../changes/change-map.js';
import type { FramePool } from '../codec/frame-pool.js';
import { errorLine, type NbdeltaError } from '../errors.js';
import { ExtentKind, type ExtentList } from '../extents/extent-list.js';
import { connectNbd, type NbdClient } from '../nbd/client/client.js';
import { CONTEXT_BASE_ALLOCATION } from '../nbd/protocol/constants.js';
import type { DiskPlan } from '../repository/disk-level.js';
import type { ArchiveEntry, Manifest, StoredDisk } from '../repository/manifest.js';
import type { PointWriter } from '../repository/point-writer.js';
import type { Warning } from './backup-manifest.js';
import type { CheckedDisk, CheckedOptions } from './backup-options.js';
import { describeSource } from './machine-source.js';
import { ReadPace } from './read-pace.js';
import { rescanDisk } from './rescan-disk.js';
import { type StoreBuffers, storeDisk } from './store-disk.js';

/** Connects to a disk's export and asks for its allocation and its bitmap. */
export async function connectDisk(disk: CheckedDisk, options: CheckedOptions): Promise<NbdClient> {
  const wantsBitmap = readsBitmaps(options) && disk.noBitmap === undefined;
  return connectNbd(disk.uri, {
    contexts: wantsBitmap ? [CONTEXT_BASE_ALLOCATION, bitmapContext(disk.bitmap)] : [CONTEXT_BASE_ALLOCATION],
    ...(options.connections !== undefined && { connections: options.connections }),
    ...(options.requestBytes !== undefined && { requestBytes: options.requestBytes }),
    ...(options.windowBytes !== undefined && { windowBytes: options.windowBytes }),
    ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
    ...(options.retries !== undefined && { retries: options.retries }),
    ...(options.signal && { signal: options.signal }),
  });
}

function readsBitmaps({ level, rescan }: CheckedOptions): boolean {
  return level !== 'full' && level !== 'copy' && rescan !== true;
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

/** What of a disk is to be stored. */
export interface DiskChanges {
  readonly map: ExtentList;
  /** Bytes that were read to find out. */
  readonly readBytes: number;
  readonly warnings: readonly Warning[];
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

/**
 * Finds out what of a disk is to be stored: everything for a full, the bitmap's part (and what the disk grew by) or what
 * differs from its base otherwise.
 * @param openBase opens the chain of the disk in the parent point.
 */
export async function findChanges(
  job: DiskJob,
  openBase: () => Promise<OpenChain>,
  pool: FramePool,
  options: CheckedOptions,
): Promise<DiskChanges> {
  if (job.plan.method !== 'rescan') return { map: await readMap(job, options), readBytes: 0, warnings: [] };
  const live = await readMap({ ...job, base: undefined }, options);
  await using chain = await openBase();
  using pace = openPace(options);
  const { client, disk } = job;
  const { changes, readBytes, unreadable } = await rescanDisk({
    ...{ reader: client, live, chain, pool, pace, signal: options.signal },
    onProgress: (done, total) => options.onProgress?.({ phase: 'compare', disk: disk.name, done, total }),
  });
  const { count, first } = unreadable;
  const warnings = first === undefined ? [] : [unreadableWarning(disk.name, count, first)];
  return { map: changes, readBytes, warnings };
}

function openPace({ rate, signal }: CheckedOptions): ReadPace | null {
  return rate === undefined ? null : new ReadPace(rate, signal);
}

async function readMap({ client, disk, base }: DiskJob, options: CheckedOptions): Promise<ExtentList> {
  return readChangeMap(client, {
    bitmap: base ? disk.bitmap : undefined,
    changedFrom: base?.size,
    block: client.info.blockSize.minimum,
    signal: options.signal,
    onProgress: done => options.onProgress?.({ phase: 'map', disk: disk.name, done, total: client.size }),
  });
}

/** The new point is whole, the ones before it are not. */
function unreadableWarning(disk: string, count: number, first: NbdeltaError): Warning {
  const frames = count === 1 ? 'a frame' : `${count} frames`;
  const text = `disk ${disk}: ${frames} of older points could not be read and compared; what the disk has there was stored again, the older points are damaged: ${errorLine(first)}`;
  return { code: 'older-frames-damaged', text };
}

/** A disk whose data is in the archive, all but the last pack and the index. */
export interface UnfinishedDisk {
  /** Writes those and brings the archive to storage. When it rejects, its volumes were aborted. */
  finish(): Promise<StoredDisk>;
}

/** Reads, seals and writes one disk into the point. When it rejects, its volumes were aborted. */
export async function backUpDisk(
  job: DiskJob,
  changes: DiskChanges,
  point: PointWriter,
  pool: FramePool,
  buffers: StoreBuffers,
  options: CheckedOptions,
): Promise<UnfinishedDisk> {
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
  const orAbort = async <Result>(work: () => Promise<Result>) => {
    try {
      return await work();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  };
  const total = changes.map.total(ExtentKind.data);
  const readBytes = await orAbort(async () => {
    using pace = openPace(options);
    return await storeDisk({
      reader: client,
      changes: changes.map,
      writer,
      pool,
      frameSize: options.frameSize,
      buffers,
      pace,
      signal: options.signal,
      onProgress: done => options.onProgress?.({ phase: 'data', disk: disk.name, done, total }),
    });
  });
  options.onProgress?.({ phase: 'finish', disk: disk.name, done: total, total });
  const finish = async (): Promise<StoredDisk> => {
    const { volumes, ...summary } = await writer.finish();
    const archive: ArchiveEntry = {
      ...summary,
      parentArchiveId: base?.archive.archiveId ?? null,
      codec: options.codec.text,
      frameSize: options.frameSize,
      volumes: volumes.map(({ volume, bytes }) => ({ name: volumeName(disk.name, volume), bytes })),
    };
    return {
      ...describeDisk(job),
      level: plan.level,
      status: 'stored',
      readBytes: changes.readBytes + readBytes,
      archive,
    };
  };
  return { finish: () => orAbort(finish) };
}

/** What a manifest says of a disk, stored or failed. */
export function describeDisk({ disk, client, plan }: DiskJob) {
  return {
    name: disk.name,
    source: disk.source ?? describeSource(disk.uri),
    ...(disk.format !== undefined && { format: disk.format }),
    size: client.size,
    level: plan.level,
    ...(plan.method !== null && { method: plan.method }),
    reason: plan.reason,
    bitmap: plan.method === 'bitmap' ? disk.bitmap : null,
  };
}

/** File name of a disk's volume, from 1. */
export function volumeName(disk: string, volume: number): string {
  return `${disk}.${String(volume).padStart(4, '0')}.tar`;
}
