/**
 * A chain that was never backed up: a full and incrementals whose manifests, headers and indexes are as a backup
 * writes them, and whose frames are holes in sparse files. Everything works on it but reading data.
 */
import { randomFillSync } from 'node:crypto';
import { open } from 'node:fs/promises';
import { ExtentTable } from '#nbdelta/archive/v1/extent-table.js';
import { FrameTable } from '#nbdelta/archive/v1/frame-table.js';
import { writeIndex } from '#nbdelta/archive/v1/index-writer.js';
import { VolumeSeries } from '#nbdelta/archive/v1/volume-series.js';
import { openRepository } from '#nbdelta/repository/repository.js';

const MIB = 2 ** 20;
export const BLOCK = 2 ** 16;
const BLOCKS_PER_FRAME = MIB / BLOCK;
/** Stored bytes of a frame: about what half-compressible data has. */
const STORED = MIB / 2;
/** Raw bytes of the full that lie together. */
const STRETCH = 64;
const MEMBER = 4 * 2 ** 30;
const DISK = 'vda';
export const MACHINE = 'generated';

/** xorshift32: the same seed makes the same chain. */
function openNumbers(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** `count` frames of 1 MiB, one after another in the file; their digests are noise. */
function makeFrames(count) {
  const frames = new FrameTable();
  const noise = new Uint8Array(48);
  const row = { storedLength: STORED, rawLength: MIB, keyId: 0, origin: 0 };
  for (let frame = 0; frame < count; frame++) {
    randomFillSync(noise);
    frames.append({
      ...row,
      digest: noise.subarray(0, 32),
      storedDigest: noise.subarray(32),
      originFrame: frame,
    });
    frames.place(frame, 1, MIB + frame * STORED);
  }
  return frames;
}

/** Extents of a full with `count` frames: stretches of data, spread over the disk. */
function makeFull(count, size) {
  const extents = new ExtentTable();
  const gap = Math.floor(size / MIB / Math.ceil(count / STRETCH)) * MIB;
  for (let frame = 0; frame < count; frame++) {
    extents.append(Math.floor(frame / STRETCH) * gap + (frame % STRETCH) * MIB, MIB, frame, 0);
  }
  return extents;
}

/** `count` blocks anywhere on the disk, 16 of them in a frame. */
function makeChanges(count, size, random) {
  const blocks = new Set();
  while (blocks.size < count) blocks.add(random() % (size / BLOCK));
  const extents = new ExtentTable();
  for (const [row, block] of Uint32Array.from(blocks).sort().entries()) {
    extents.append(
      block * BLOCK,
      BLOCK,
      Math.floor(row / BLOCKS_PER_FRAME),
      (row % BLOCKS_PER_FRAME) * BLOCK,
    );
  }
  return extents;
}

/** A volume's file; instead of the bytes of a `{ length }` it gets a hole. */
async function openSparse(path) {
  const file = await open(path, 'wx');
  let position = 0;
  return {
    async append(chunks) {
      for (const chunk of chunks) {
        if (chunk instanceof Uint8Array) await file.write(chunk, 0, chunk.length, position);
        position += chunk.length;
      }
    },
    close: () => file.close(),
    abort: () => file.close(),
  };
}

async function writeArchive(path, { header, frames, extents }) {
  const volumes = new VolumeSeries({
    header,
    openVolume: () => openSparse(path),
    maxVolumeBytes: Number.MAX_SAFE_INTEGER,
  });
  const volume = await volumes.open();
  let left = MIB + frames.count * STORED;
  for (let pack = 1; left > 0; pack++) {
    const length = Math.min(left, MEMBER);
    await volume.writeMember(`data/${String(pack).padStart(8, '0')}.zst`, [{ length }], length);
    left -= length;
  }
  const { archiveId, size } = header;
  const index = await writeIndex(volumes, { archiveId, size, origins: [archiveId], frames, extents });
  const { volume: _, ...place } = index;
  const [{ bytes }] = await volumes.finish(place);
  return {
    ...{ archiveId, parentArchiveId: header.parentArchiveId, codec: header.codec, frameSize: MIB },
    ...{ volumes: [{ name: `${DISK}.0001.tar`, bytes }], index },
    ...{ frames: frames.count, extents: extents.count },
    ...{ dataBytes: 0, zeroBytes: 0, storedBytes: bytes },
  };
}

function makeManifest({ id, sequence, created, parent, size, archive }) {
  const level = parent === null ? 'full' : 'incremental';
  const reason = null;
  const disk = {
    name: DISK,
    source: null,
    size,
    status: 'stored',
    level,
    reason,
    bitmap: null,
    readBytes: 0,
  };
  const time = created.toISOString();
  const counts = { readBytes: 0, storedBytes: 0, dataBytes: 0, zeroBytes: 0 };
  return {
    ...{ format: 'nbdelta-point', version: 1, features: [], id, sequence },
    ...{ machine: { name: MACHINE, id: null }, created: time, level, reason, parent },
    ...{ since: { kind: 'none', label: null, point: null }, checkpoint: null, partial: false },
    ...{ replaces: [], standsFor: [], disks: [{ ...disk, archive }], files: [] },
    ...{ statistics: { startedAt: time, finishedAt: time, ...counts }, warnings: [] },
    software: { name: 'nbdelta', version: 'bench' },
  };
}

/** Writes and commits one point on `parent` (`null`: a full). @returns what its child needs to know of it. */
async function addPoint({ folder, machine, lock, size }, sequence, parent, content) {
  const created = new Date(Date.UTC(2026, 0, 1) + sequence * 3_600_000);
  const point = await machine.beginPoint(lock, { now: created });
  const archiveId = sequence.toString(16).padStart(32, '0');
  const parentArchiveId = parent?.archiveId ?? null;
  const header = {
    ...{ format: 'nbdelta-archive', version: 1, archiveId, volume: 1, parentArchiveId },
    ...{ disk: DISK, size, frameSize: MIB, codec: 'zstd:1', features: [] },
  };
  const path = `${folder}/${MACHINE}/${point.id}/${DISK}.0001.tar`;
  const archive = await writeArchive(path, { header, ...content });
  const manifest = makeManifest({
    ...{ id: point.id, sequence, created, size, archive },
    parent: parent?.reference ?? null,
  });
  const committed = await point.commit(manifest);
  await machine.recordCommitted(lock, committed);
  return { archiveId, reference: { id: point.id, manifestSha256: committed.sha256 } };
}

/**
 * Makes the repository `folder` with one chain of `points` points. The full has `frames` frames of 1 MiB, every
 * incremental `changes` blocks of 64 KiB anywhere on a disk of `size` bytes.
 */
export async function generateChain(folder, { points, frames, changes, size }) {
  const repository = await openRepository(folder, { create: true });
  const machine = repository.machine(MACHINE);
  const lock = await machine.lock('bench', { create: true });
  await machine.identify(lock, { id: null, disks: [{ name: DISK, source: null }] }, { startsChain: true });
  const place = { folder, machine, lock, size };
  const full = { frames: makeFrames(frames), extents: makeFull(frames, size) };
  let parent = await addPoint(place, 1, null, full);
  const random = openNumbers(0x6e6264);
  const shared = makeFrames(Math.ceil(changes / BLOCKS_PER_FRAME));
  for (let sequence = 2; sequence <= points; sequence++) {
    const content = { frames: shared, extents: makeChanges(changes, size, random) };
    parent = await addPoint(place, sequence, parent, content);
  }
  await lock.release();
}
