import type { FramePool } from '../codec/frame-pool.js';
import { DamagedError } from '../errors.js';
import type { OpenChain } from './open-chain.js';
import { nameLink } from './open-chain.js';

/** Buffers for one frame on its way from the archive to whoever wants its bytes. */
export interface FrameBuffers {
  stored: ArrayBuffer;
  raw: ArrayBuffer;
}

export interface LoadFrameOptions {
  /** Whether what is stored must match its digest too, although the content is right. */
  readonly checkStored?: boolean;
}

/**
 * Reads a frame, decodes it and checks the digest of its content. `buffers` travel to another thread and back; afterwards
 * they hold the same memory again, also when it throws (unless a worker died).
 * @returns bytes of `buffers.raw` in use.
 * @throws DamagedError naming point, disk and range: never bytes that do not match.
 */
export async function loadFrame(
  chain: OpenChain,
  archive: number,
  frame: number,
  buffers: FrameBuffers,
  pool: FramePool,
  { checkStored = false }: LoadFrameOptions = {},
): Promise<number> {
  const reader = chain.archives[archive]!;
  const { frames } = reader;
  const storedLength = frames.storedLengthAt(frame);
  const rawLength = frames.rawLengthAt(frame);
  try {
    await reader.readStored(frame, new Uint8Array(buffers.stored, 0, storedLength));
  } catch (error) {
    const { point, disk } = chain.links[archive]!;
    throw nameLink(error, chain.machine, point.id, disk.name);
  }
  const opened = await pool.open({
    stored: buffers.stored,
    storedLength,
    out: buffers.raw,
    rawLength,
    digest: frames.digestAt(frame),
    storedDigest: frames.storedDigestAt(frame),
    checkStored,
  });
  buffers.stored = opened.stored;
  buffers.raw = opened.out;
  if (!opened.ok) throw damagedFrame(chain, archive, frame, opened.check);
  return rawLength;
}

/** Largest buffers that the frames of a chain need. Bytes. */
export function frameCapacity(chain: OpenChain): { readonly stored: number; readonly raw: number } {
  let stored = 1;
  let raw = 1;
  for (const { frames } of chain.archives) {
    for (let frame = 0; frame < frames.count; frame++) {
      stored = Math.max(stored, frames.storedLengthAt(frame));
      raw = Math.max(raw, frames.rawLengthAt(frame));
    }
  }
  return { stored, raw };
}

/** The error for a frame whose `check` does not match. */
export function damagedFrame(chain: OpenChain, archive: number, frame: number, check: string): DamagedError {
  const { point, disk } = chain.links[archive]!;
  const reader = chain.archives[archive]!;
  const volume = disk.archive.volumes[reader.frames.volumeAt(frame) - 1]?.name ?? '?';
  const range = frameRange(chain, archive, frame);
  return new DamagedError(
    `point ${chain.machine}@${point.id}, disk ${disk.name}: frame ${frame} (disk bytes ${range}) in ${volume} at ` +
      `${reader.frames.offsetAt(frame)} is damaged: the ${check} does not match`,
    {
      hint: 'bring that file back from a copy of the repository; points that do not build on it can be restored',
      fields: { machine: chain.machine, point: point.id, disk: disk.name, frame, volume, range, check },
    },
  );
}

/** First to last byte of the disk that come from a frame, for messages. */
function frameRange({ segments }: OpenChain, archive: number, frame: number): string {
  let first = Number.POSITIVE_INFINITY;
  let end = 0;
  for (let index = 0; index < segments.count; index++) {
    if (segments.frameAt(index) !== frame || segments.archiveAt(index) !== archive) continue;
    first = Math.min(first, segments.offsetAt(index));
    end = Math.max(end, segments.endAt(index));
  }
  return `${first}-${end - 1}`;
}
