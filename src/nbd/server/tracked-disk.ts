import { UsageError } from '../../errors.js';
import {
  CONTEXT_BASE_ALLOCATION,
  CONTEXT_QEMU_DIRTY_BITMAP,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
} from '../protocol/constants.js';
import type { BlockSource, StatusExtent } from './block-source.js';
import { DirtyBitmap } from './dirty-bitmap.js';
import { statusRuns } from './status-runs.js';

/** Unit of allocation: a block was never written, or it has memory. Bytes. */
export const TRACKED_BLOCK = 65536;

/** Content by block number; what is not in it reads as zeroes. */
type Blocks = Map<number, Uint8Array>;

/** The content and the bitmaps of a disk at one moment, or of a live disk. */
class DiskView implements BlockSource {
  readonly size: number;
  protected readonly blocks: Blocks;
  protected readonly bitmaps: Map<string, DirtyBitmap>;

  constructor(size: number, blocks: Blocks, bitmaps: Map<string, DirtyBitmap>) {
    this.size = size;
    this.blocks = blocks;
    this.bitmaps = bitmaps;
  }

  get contexts(): readonly string[] {
    const names = [...this.bitmaps.keys()].map(name => CONTEXT_QEMU_DIRTY_BITMAP + name);
    return [CONTEXT_BASE_ALLOCATION, ...names];
  }

  async readInto(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this.size, offset, target.byteLength);
    for (const part of partsOf(offset, target.byteLength)) {
      const into = target.subarray(part.at, part.at + part.length);
      const block = this.blocks.get(part.block);
      if (block) into.set(block.subarray(part.start, part.start + part.length));
      else into.fill(0);
    }
  }

  status(context: string, offset: number, length: number, maxExtents: number): readonly StatusExtent[] {
    checkRange(this.size, offset, length);
    if (context === CONTEXT_BASE_ALLOCATION) {
      const query = { offset, length, maxExtents, unit: TRACKED_BLOCK };
      return statusRuns(query, block => (this.blocks.has(block) ? 0 : NBD_STATE_HOLE | NBD_STATE_ZERO));
    }
    const bitmap = this.bitmaps.get(context.slice(CONTEXT_QEMU_DIRTY_BITMAP.length));
    if (!context.startsWith(CONTEXT_QEMU_DIRTY_BITMAP) || !bitmap) {
      throw new UsageError(`the disk has no meta context "${context}"`);
    }
    return bitmap.status(offset, length, maxExtents);
  }
}

/**
 * A disk in memory that does what a guest's disk under QEMU does for a backup: it is written to, keeps dirty
 * bitmaps, and can be frozen while writing goes on. For the demo and for tests; memory is taken for what was
 * written, in blocks of 64 KiB.
 */
export class TrackedDisk extends DiskView {
  /** Blocks that a snapshot shares: they are replaced, never changed. */
  #shared = new WeakSet<Uint8Array>();

  /** A disk of `size` bytes (any size), all zero and unallocated. */
  constructor(size: number) {
    if (!Number.isSafeInteger(size) || size < 0) throw new UsageError(`disk size ${size}`);
    super(size, new Map(), new Map());
  }

  /**
   * Starts a clean bitmap: from now on it records what is written. Context `qemu:dirty-bitmap:NAME`.
   * @throws UsageError when there is one of that name.
   */
  addBitmap(name: string, granularity = 65536): void {
    if (this.bitmaps.has(name)) throw new UsageError(`there is a bitmap "${name}" already`);
    this.bitmaps.set(name, new DirtyBitmap(this.size, granularity));
  }

  removeBitmap(name: string): void {
    this.bitmaps.delete(name);
  }

  /** Writes bytes, at any alignment. */
  write(offset: number, bytes: Uint8Array): void {
    checkRange(this.size, offset, bytes.byteLength);
    for (const part of partsOf(offset, bytes.byteLength)) {
      const source = bytes.subarray(part.at, part.at + part.length);
      this.#writable(part.block).set(source, part.start);
    }
    this.#mark(offset, bytes.byteLength);
  }

  /** Makes a range read as zeroes: a change like any other. Blocks that it covers whole become holes. */
  zero(offset: number, length: number): void {
    checkRange(this.size, offset, length);
    for (const part of partsOf(offset, length)) {
      const end = part.start + part.length;
      const whole =
        part.start === 0 && (end === TRACKED_BLOCK || part.block * TRACKED_BLOCK + end === this.size);
      if (whole) this.blocks.delete(part.block);
      else if (this.blocks.has(part.block)) this.#writable(part.block).fill(0, part.start, end);
    }
    this.#mark(offset, length);
  }

  #mark(offset: number, length: number): void {
    for (const bitmap of this.bitmaps.values()) bitmap.mark(offset, length);
  }

  #writable(number: number): Uint8Array {
    const found = this.blocks.get(number);
    if (found && !this.#shared.has(found)) return found;
    const block = found?.slice() ?? new Uint8Array(TRACKED_BLOCK);
    this.blocks.set(number, block);
    return block;
  }

  /** The disk and its bitmaps as they are now, to be served while writing goes on. Copies no content. */
  snapshot(): BlockSource {
    for (const block of this.blocks.values()) this.#shared.add(block);
    const bitmaps = new Map([...this.bitmaps].map(([name, bitmap]) => [name, bitmap.copy()]));
    return new DiskView(this.size, new Map(this.blocks), bitmaps);
  }
}

function checkRange(size: number, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
    throw new UsageError(`range ${offset}+${length} lies outside a disk of ${size} bytes`);
  }
}

interface BlockPart {
  readonly block: number;
  /** Where the part starts in its block. */
  readonly start: number;
  readonly length: number;
  /** Where the part starts in the range. */
  readonly at: number;
}

/** A range cut at the blocks' borders. */
function* partsOf(offset: number, length: number): Generator<BlockPart, void, undefined> {
  let at = 0;
  while (at < length) {
    const start = (offset + at) % TRACKED_BLOCK;
    const part = Math.min(TRACKED_BLOCK - start, length - at);
    yield { block: Math.floor((offset + at) / TRACKED_BLOCK), start, length: part, at };
    at += part;
  }
}
