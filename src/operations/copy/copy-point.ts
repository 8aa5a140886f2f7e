import { frameCapacity } from '../../chain/load-frame.js';
import { openChainArchives } from '../../chain/open-chain.js';
import { AbortedError } from '../../errors.js';
import type { MachineLock } from '../../repository/lock.js';
import { type MachineStore, RESUME_NAME } from '../../repository/machine-store.js';
import type { Point, StoredDisk } from '../../repository/manifest.js';
import type { PointWriter } from '../../repository/point-writer.js';
import { readStoredFrames } from '../merge/stored-frames.js';
import type { ProgressListener } from '../progress.js';
import { checkVolumeFiles } from '../verify/check-volume-files.js';
import { everyFrame } from '../verify/sample-frames.js';

/** Bytes that are read and written at once. */
const PIECE = 4 << 20;

export interface CopyPointOptions {
  readonly from: MachineStore;
  readonly to: MachineStore;
  readonly lock: MachineLock;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/**
 * Copies one point as it is: volumes and manifest byte for byte. What an earlier run left is compared and kept. Before the
 * commit every frame is read back in the target and checked against its digest.
 * @returns bytes of its volumes.
 */
export async function copyPoint(point: Point, options: CopyPointOptions): Promise<number> {
  const { from, to, lock } = options;
  const { id, disks, files } = point.manifest;
  const writer = await to.adoptPoint(lock, id);
  // Whatever happens, the next run goes on from here.
  await writer.putFile(
    RESUME_NAME,
    new TextEncoder().encode(`${JSON.stringify({ operation: 'copy', id })}\n`),
  );
  let bytes = 0;
  for (const disk of disks)
    if (disk.status === 'stored') bytes += await copyDisk(point, disk, writer, options);
  for (const { name } of files) {
    const content = await from.readPointFile(point, name);
    if (content !== undefined) await writer.putFile(name, content);
  }
  await writer.dropFile(RESUME_NAME);
  await writer.commitBytes(await from.readManifestBytes(id));
  await to.recordCommitted(lock, point);
  return bytes;
}

async function copyDisk(
  point: Point,
  disk: StoredDisk,
  writer: PointWriter,
  { from, to, signal, onProgress }: CopyPointOptions,
): Promise<number> {
  const total = disk.archive.storedBytes;
  let done = 0;
  const onBytes = (bytes: number) => {
    done += bytes;
    onProgress?.({ phase: 'data', disk: disk.name, done, total });
  };
  for (const { name } of disk.archive.volumes) {
    await copyVolume(from, point.manifest.id, name, writer, { signal, onBytes });
  }
  onProgress?.({ phase: 'finish', disk: disk.name, done: total, total });
  await checkCopied(to, point, disk, signal);
  return done;
}

async function copyVolume(
  from: MachineStore,
  id: string,
  name: string,
  writer: PointWriter,
  {
    signal,
    onBytes,
  }: { readonly signal: AbortSignal | undefined; readonly onBytes: (bytes: number) => void },
): Promise<void> {
  const reader = await from.openVolume(id, name);
  const sink = await writer.resumeVolume(name, () => true);
  try {
    for (let at = 0; at < reader.size; at += PIECE) {
      if (signal?.aborted) throw new AbortedError('copy', signal.reason);
      const piece = new Uint8Array(Math.min(PIECE, reader.size - at));
      await reader.read(at, piece);
      await sink.append([piece]);
      onBytes(piece.length);
    }
  } finally {
    await sink.close();
    await reader.close();
  }
}

/** @throws DamagedError naming point, disk and range: of the copy, or of what was copied. */
async function checkCopied(
  to: MachineStore,
  { manifest }: Point,
  disk: StoredDisk,
  signal: AbortSignal | undefined,
): Promise<void> {
  await using chain = await openChainArchives(to, [{ point: manifest, disk }]);
  await checkVolumeFiles(to, chain);
  const { count } = chain.archives[0]!.frames;
  const places = function* () {
    for (const frame of everyFrame(count)) yield { archive: 0, frame };
  };
  const frames = readStoredFrames(chain, places(), frameCapacity(chain).stored, signal);
  for await (const { release } of frames) release();
}
