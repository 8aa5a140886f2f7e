import { DamagedError } from '../../errors.js';
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
 * Checks row `frame` of `frames`. A digest proves only that these bytes were written, not that they are sane: an
 * unchecked length would take memory, an unchecked offset read somebody else's bytes.
 * @throws DamagedError
 */
export function checkFrameRow(frames: FrameTable, frame: number, bounds: IndexBounds): void {
  const stored = frames.storedLengthAt(frame);
  const volume = frames.volumeAt(frame);
  inRange(frame, 'raw length', frames.rawLengthAt(frame), 1, MAX_FRAME_RAW);
  inRange(frame, 'stored length', stored, 1, MAX_FRAME_STORED);
  inRange(frame, 'origin', frames.originAt(frame), 0, bounds.originCount - 1);
  inRange(frame, 'key id', frames.keyIdAt(frame), 0, 0); // Encryption would be a required feature.
  inRange(frame, 'volume', volume, 1, bounds.volumeBytes.length);
  const volumeBytes = bounds.volumeBytes[volume - 1] ?? Number.MAX_SAFE_INTEGER;
  const last = volumeBytes - VOLUME_TAIL - stored;
  inRange(frame, 'offset in the volume', frames.offsetAt(frame), TAR_BLOCK, last);
  if (frame > 0) checkBehind(frames, frame, volume);
}

/**
 * Frames lie in the order of their numbers, so every row needs stored bytes of its own: a file with few bytes
 * cannot have many frames. A row that repeats another compresses to nothing, and would fill the memory.
 */
function checkBehind(frames: FrameTable, frame: number, volume: number): void {
  const before = frames.volumeAt(frame - 1);
  inRange(frame, 'volume', volume, before, MAX_VOLUMES);
  if (volume > before) return;
  const end = frames.offsetAt(frame - 1) + frames.storedLengthAt(frame - 1);
  inRange(frame, 'offset in the volume', frames.offsetAt(frame), end, Number.MAX_SAFE_INTEGER);
}

function inRange(frame: number, what: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new DamagedError(`index: frame ${frame} has ${what} ${value}, expected ${least} to ${most}`);
}
