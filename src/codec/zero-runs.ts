/** Shortest run of zero bytes inside a piece that is kept out of a frame. */
export const ZERO_RUN_MIN = 64 * 1024;

const BLOCK = 4096;
/** Every run of ZERO_RUN_MIN bytes, however aligned, contains a whole block at a multiple of this. */
const STRIDE = ZERO_RUN_MIN / 2;
const ZEROES = Buffer.alloc(ZERO_RUN_MIN);

/**
 * Finds what need not be stored: every maximal run of at least {@link ZERO_RUN_MIN} zero bytes inside a piece,
 * and every piece that is zero as a whole.
 * @param raw the pieces one after another; its length is the sum of `pieceLengths`.
 * @returns triples (piece index, start in the piece, length), ascending.
 */
export function findZeroRuns(raw: Uint8Array, pieceLengths: Uint32Array): Uint32Array<ArrayBuffer> {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  const runs: number[] = [];
  let start = 0;
  for (let piece = 0; piece < pieceLengths.length; piece++) {
    const end = start + pieceLengths[piece]!;
    scanPiece(bytes, piece, start, end, runs);
    start = end;
  }
  return Uint32Array.from(runs);
}

function scanPiece(bytes: Buffer, piece: number, start: number, end: number, runs: number[]): void {
  if (end - start < ZERO_RUN_MIN) {
    if (end > start && isZero(bytes, start, end)) runs.push(piece, 0, end - start);
    return;
  }
  // Between `floor` and the probe no byte is known; before it lies a run that was looked at already.
  let floor = start;
  for (let probe = start; probe + BLOCK <= end; ) {
    if (!isZero(bytes, probe, probe + BLOCK)) {
      probe += STRIDE;
      continue;
    }
    const runStart = zeroesBack(bytes, floor, probe);
    const runEnd = zeroesForward(bytes, probe + BLOCK, end);
    if (runEnd - runStart >= ZERO_RUN_MIN) runs.push(piece, runStart - start, runEnd - runStart);
    floor = runEnd;
    probe += STRIDE * Math.ceil((runEnd - probe) / STRIDE);
  }
}

/** Whether `[start, end)`, at most ZERO_RUN_MIN bytes, is zero; most non-zero data ends at the first test. */
function isZero(bytes: Buffer, start: number, end: number): boolean {
  if (bytes[start] !== 0 || bytes[end - 1] !== 0) return false;
  return bytes.compare(ZEROES, 0, end - start, start, end) === 0;
}

/** First byte of the zeroes that end at `from`, not before `floor`. */
function zeroesBack(bytes: Buffer, floor: number, from: number): number {
  let at = from;
  while (at - BLOCK >= floor && isZero(bytes, at - BLOCK, at)) at -= BLOCK;
  while (at > floor && bytes[at - 1] === 0) at--;
  return at;
}

/** First byte at or after `from` that is not zero, or `end`. */
function zeroesForward(bytes: Buffer, from: number, end: number): number {
  let at = from;
  while (at + BLOCK <= end && isZero(bytes, at, at + BLOCK)) at += BLOCK;
  while (at < end && bytes[at] === 0) at++;
  return at;
}

/**
 * Moves the bytes outside the zero runs together at the start of `raw`, in place and in order.
 * @returns how many bytes that is.
 */
export function compactFrame(raw: Uint8Array, pieceLengths: Uint32Array, zeroRuns: Uint32Array): number {
  let live = 0;
  let copied = 0;
  let pieceStart = 0;
  let piece = 0;
  for (let run = 0; run < zeroRuns.length; run += 3) {
    while (piece < zeroRuns[run]!) pieceStart += pieceLengths[piece++]!;
    const start = pieceStart + zeroRuns[run + 1]!;
    live = moveDown(raw, live, copied, start);
    copied = start + zeroRuns[run + 2]!;
  }
  return moveDown(raw, live, copied, raw.length);
}

function moveDown(raw: Uint8Array, to: number, start: number, end: number): number {
  if (to !== start) raw.copyWithin(to, start, end);
  return to + end - start;
}
