import {
  type ArchiveReader,
  type OpenArchiveOptions,
  openArchive,
} from '#nbdelta/archive/v1/archive-reader.js';
import {
  type ArchiveSummary,
  type ArchiveWriterOptions,
  openArchiveWriter,
} from '#nbdelta/archive/v1/archive-writer.js';
import type { ExtentTable } from '#nbdelta/archive/v1/extent-table.js';
import { splitAtZeroRuns } from '#nbdelta/archive/v1/frame-entries.js';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import { openFrame } from '#nbdelta/codec/open.js';
import { sealFrame } from '#nbdelta/codec/seal.js';
import { createCompressor, createDecompressor, sealedCapacity } from '#nbdelta/codec/zstd.js';
import type { Range } from '#nbdelta/extents/extent-list.js';
import { MemoryVolumes } from './memory-volumes.js';

/** What happens to a disk, in ascending order: a frame made of pieces, or a zero range. */
export type Step =
  | { readonly kind: 'frame'; readonly pieces: readonly Range[] }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number };

export const ARCHIVE_ID = '00112233445566778899aabbccddeeff';

/** Writes the steps as an archive whose data comes from `disk`; checks that every frame is released once. */
export async function writeArchive(
  disk: Buffer,
  steps: readonly Step[],
  options: Partial<ArchiveWriterOptions> = {},
): Promise<{ volumes: MemoryVolumes; summary: ArchiveSummary }> {
  const volumes = new MemoryVolumes();
  const writer = await openArchiveWriter({
    archiveId: ARCHIVE_ID,
    parentArchiveId: null,
    disk: 'vda',
    size: disk.length,
    frameSize: 1 << 20,
    codec: parseCodec('zstd:1'),
    openVolume: volumes.openVolume,
    ...options,
  });
  let held = 0;
  for (const step of steps) {
    if (step.kind === 'zero') {
      await writer.addZero(step.offset, step.length);
      continue;
    }
    const { stored, entries, ...seal } = sealPieces(disk, step.pieces);
    if (seal.rawLength === 0) {
      for (const { offset, length } of entries) await writer.addZero(offset, length);
      continue;
    }
    held++;
    let released = false;
    const release = () => {
      if (released) throw new Error('released twice');
      released = true;
      stored.fill(0xee); // Whoever reads it now gets nonsense.
      held--;
    };
    await writer.addFrame({ stored, entries, ...seal, release });
  }
  const summary = await writer.finish();
  if (held !== 0) throw new Error(`${held} frames not released`);
  return { volumes, summary };
}

/** Seals pieces of a disk as the frame pool does. */
export function sealPieces(disk: Buffer, pieces: readonly Range[]) {
  const raw = Uint8Array.from(
    Buffer.concat(pieces.map(({ offset, length }) => disk.subarray(offset, offset + length))),
  );
  const out = new Uint8Array(sealedCapacity(raw.length));
  const seal = sealFrame(
    createCompressor(1),
    raw,
    Uint32Array.from(pieces, piece => piece.length),
    out,
  );
  return {
    stored: out.slice(0, seal.storedLength),
    rawLength: seal.liveLength,
    digest: seal.digest,
    storedDigest: seal.storedDigest,
    entries: splitAtZeroRuns(pieces, seal.zeroRuns),
  };
}

/** Opens what was written. */
export function openMemory(
  volumes: MemoryVolumes,
  options: Partial<OpenArchiveOptions> = {},
): Promise<ArchiveReader> {
  return openArchive({ readVolume: volumes.readVolume, volumes: volumes.files.length, ...options });
}

/** Applies an archive to `target`; bytes that it does not mention stay. Throws when a frame is damaged. */
export async function applyArchive(reader: ArchiveReader, target: Buffer): Promise<void> {
  const decompressor = createDecompressor();
  const { extents, frames } = reader;
  for (let row = 0; row < extents.count; row++) {
    const [offset, length] = [extents.offsetAt(row), extents.lengthAt(row)];
    if (extents.isZeroAt(row)) {
      target.fill(0, offset, offset + length);
      continue;
    }
    const frame = extents.frameAt(row);
    const rawLength = frames.rawLengthAt(frame);
    const stored = new Uint8Array(frames.storedLengthAt(frame));
    await reader.readStored(frame, stored);
    const out = new Uint8Array(rawLength);
    const failed = openFrame(decompressor, stored, out, {
      rawLength,
      digest: frames.digestAt(frame),
      storedDigest: frames.storedDigestAt(frame),
      checkStored: true,
    });
    if (failed !== null) throw new Error(`frame ${frame}: ${failed}`);
    target.set(out.subarray(extents.withinAt(row), extents.withinAt(row) + length), offset);
  }
}

/** Rows as plain objects, for comparing. */
export function rowsOf(extents: ExtentTable) {
  return Array.from({ length: extents.count }, (_, row) => {
    const base = { offset: extents.offsetAt(row), length: extents.lengthAt(row) };
    if (extents.isZeroAt(row)) return { ...base, zero: true };
    return { ...base, frame: extents.frameAt(row), within: extents.withinAt(row) };
  });
}
