import { setImmediate } from 'node:timers/promises';
import type { ExtentTable } from '../archive/v1/extent-table.js';
import { AbortedError, UsageError } from '../errors.js';
import { MAX_WINDOW, OverlayWindow } from './overlay-window.js';
import { RowCursor } from './row-cursor.js';
import { SegmentTable } from './segment-table.js';

/** What the map needs of an archive. Its table is taken apart: its memory becomes the map's. */
export interface MappedArchive {
  readonly extents: ExtentTable;
  readonly frameCount: number;
}

export interface MergeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Most extents of an archive in a window; by default what suits the processor's cache. */
  readonly share?: number | undefined;
}

/** Archives are numbered with 16 bits. */
const MAX_ARCHIVES = 0xffff;
/** Extents that are laid over one another at once; each archive has its share. */
const WINDOW_EXTENTS = 1 << 15;
const LEAST_SHARE = 8;
/** How long the event loop waits for its turn. */
const TURN_MS = 10;

/**
 * The chain's merged map: for any byte, the newest archive that has it.
 *
 *   newest   ....[======]......[==]
 *   older    [==========]..[======]
 *   map      [old][newest ]..[old][new]      (".." is in no archive and reads as zero)
 *
 * Made window by window along the disk, each as long as every archive has few extents in it: time grows with the
 * number of extents, hardly with the number of archives, and the map takes the memory that the extents had.
 * @param archives oldest first.
 * @param size bytes of the disk at the wanted point; what older archives hold beyond it is cut off.
 */
export async function mergeChain(
  archives: readonly MappedArchive[],
  size: number,
  { signal, share }: MergeOptions = {},
): Promise<SegmentTable> {
  if (archives.length > MAX_ARCHIVES) {
    throw new UsageError(`a chain of ${archives.length} archives, at most ${MAX_ARCHIVES} are possible`);
  }
  const overlay = new ChainOverlay(archives, size, share ?? defaultShare(archives.length));
  let turn = performance.now();
  while (overlay.addWindow()) {
    if (performance.now() - turn < TURN_MS) continue;
    await setImmediate();
    if (signal?.aborted) throw new AbortedError('opening a chain', signal.reason);
    turn = performance.now();
  }
  return overlay.result;
}

function defaultShare(archives: number): number {
  return Math.max(LEAST_SHARE, Math.floor(WINDOW_EXTENTS / archives));
}

class ChainOverlay {
  readonly result: SegmentTable;
  readonly #size: number;
  readonly #cursors: readonly RowCursor[];
  readonly #share: number;
  readonly #window: OverlayWindow;

  constructor(archives: readonly MappedArchive[], size: number, share: number) {
    const pieces = archives.map(({ extents }) => Math.min(share, extents.count));
    const spare: Uint32Array[] = [];
    const result = new SegmentTable(
      archives.map(archive => archive.frameCount),
      spare,
    );
    this.result = result;
    this.#size = size;
    this.#cursors = archives.map(
      ({ extents }, archive) => new RowCursor(extents, { firstFrame: result.firstFrameOf(archive), spare }),
    );
    this.#share = share;
    this.#window = new OverlayWindow(pieces.reduce((sum, count) => sum + count, 0));
  }

  /** Adds the next window to the result; false when there is nothing more. */
  addWindow(): boolean {
    const start = this.#nextOffset();
    if (start >= this.#size) return false;
    this.#window.moveTo(start, this.#windowEnd(start));
    for (const cursor of this.#cursors) {
      if (cursor.offset < this.#window.end) cursor.moveInto(this.#window);
    }
    this.#window.flatten(this.result);
    return true;
  }

  #nextOffset(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const cursor of this.#cursors) if (cursor.offset < next) next = cursor.offset;
    return next;
  }

  /** As far as no archive has more than its share of extents. */
  #windowEnd(start: number): number {
    let end = Math.min(this.#size, start + MAX_WINDOW);
    for (const cursor of this.#cursors) {
      const full = cursor.offsetAhead(this.#share);
      if (full < end) end = full;
    }
    return end;
  }
}
