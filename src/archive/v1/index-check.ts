import { DamagedError } from '../../errors.js';
import type { ExtentTable } from './extent-table.js';
import { MAX_FRAME_RAW, MAX_FRAME_STORED, MAX_VOLUMES, TAR_BLOCK, VOLUME_TAIL } from './format-limits.js';
import type { FrameTable } from './frame-table.js';

/** What rows of an index are checked against. */
export interface IndexBounds {
  /** Size of the disk. */
  readonly size: number;
  readonly originCount: number;
  /** Sizes of the volumes' files as far as they are known, `volumeBytes[0]` being volume 1's. */
  readonly volumeBytes: readonly (number | undefined)[];
}

/**
 * Checks the newest row of `frames`. A digest proves only that these bytes were written, not that they are sane:
 * an unchecked length would take memory, an unchecked offset read somebody else's bytes.
 * @throws DamagedError
 */
export function checkFrameRow(frames: FrameTable, bounds: IndexBounds): void {
  const frame = frames.count - 1;
  const [raw, stored] = [frames.rawLengthAt(frame), frames.storedLengthAt(frame)];
  inRange(frame, 'raw length', raw, 1, MAX_FRAME_RAW);
  inRange(frame, 'stored length', stored, 1, MAX_FRAME_STORED);
  inRange(frame, 'origin', frames.originAt(frame), 0, bounds.originCount - 1);
  inRange(frame, 'key id', frames.keyIdAt(frame), 0, 0); // Encryption would be a required feature.
  inRange(frame, 'volume', frames.volumeAt(frame), 1, bounds.volumeBytes.length);
  const volumeBytes = bounds.volumeBytes[frames.volumeAt(frame) - 1] ?? Number.MAX_SAFE_INTEGER;
  inRange(
    frame,
    'offset in the volume',
    frames.offsetAt(frame),
    TAR_BLOCK,
    volumeBytes - VOLUME_TAIL - stored,
  );
  if (frame > 0) checkBehind(frames, frame);
}

/**
 * Frames lie in the order of their numbers, so every row needs stored bytes of its own: a file with few bytes
 * cannot have many frames. A row that repeats another compresses to nothing, and would fill the memory.
 */
function checkBehind(frames: FrameTable, frame: number): void {
  const [volume, before] = [frames.volumeAt(frame), frames.volumeAt(frame - 1)];
  inRange(frame, 'volume', volume, before, MAX_VOLUMES);
  if (volume > before) return;
  const end = frames.offsetAt(frame - 1) + frames.storedLengthAt(frame - 1);
  inRange(frame, 'offset in the volume', frames.offsetAt(frame), end, Number.MAX_SAFE_INTEGER);
}

function inRange(frame: number, what: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new DamagedError(`index: frame ${frame} has ${what} ${value}, expected ${least} to ${most}`);
}

/**
 * Checks the newest row of `extents`, which starts at or after `end`, the end of the one before.
 * @returns its end.
 * @throws DamagedError
 */
export function checkExtentRow(
  extents: ExtentTable,
  end: number,
  frames: FrameTable,
  bounds: IndexBounds,
): number {
  const row = extents.count - 1;
  const offset = extents.offsetAt(row);
  const newEnd = offset + extents.lengthAt(row);
  if (offset < end) throw new DamagedError(`index: extent ${row} at ${offset} starts before ${end}`);
  if (newEnd > bounds.size) {
    throw new DamagedError(`index: extent ${row} ends at ${newEnd}, the disk at ${bounds.size}`);
  }
  if (!extents.isZeroAt(row)) checkInFrame(extents, row, frames);
  return newEnd;
}

function checkInFrame(extents: ExtentTable, row: number, frames: FrameTable): void {
  const frame = extents.frameAt(row);
  if (frame >= frames.count) {
    throw new DamagedError(`index: extent ${row} lies in frame ${frame}, there are ${frames.count}`);
  }
  const end = extents.withinAt(row) + extents.lengthAt(row);
  if (end > frames.rawLengthAt(frame)) {
    throw new DamagedError(
      `index: extent ${row} ends at ${end} of frame ${frame}, which has ${frames.rawLengthAt(frame)} bytes`,
    );
  }
}
