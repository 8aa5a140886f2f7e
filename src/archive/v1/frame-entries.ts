import type { Range } from '../../extents/extent-list.js';

/** A range of the disk that a frame brought: its bytes are in the frame, or it is zero. Bytes. */
export interface FrameEntry extends Range {
  readonly zero: boolean;
}

/**
 * What to tell the archive writer about a sealed frame: its pieces, cut at the zero runs that sealing took out.
 * @param pieces ranges of the disk in the order of the frame's raw content.
 * @param zeroRuns triples (piece index, start in the piece, length), ascending, as sealing returns them.
 */
export function splitAtZeroRuns(pieces: readonly Range[], zeroRuns: Uint32Array): FrameEntry[] {
  const entries: FrameEntry[] = [];
  let run = 0;
  for (const [index, { offset, length }] of pieces.entries()) {
    let at = 0;
    for (; zeroRuns[run] === index; run += 3) {
      const [start, zeroes] = [zeroRuns[run + 1]!, zeroRuns[run + 2]!];
      if (start > at) entries.push({ offset: offset + at, length: start - at, zero: false });
      entries.push({ offset: offset + start, length: zeroes, zero: true });
      at = start + zeroes;
    }
    if (length > at) entries.push({ offset: offset + at, length: length - at, zero: false });
  }
  return entries;
}
