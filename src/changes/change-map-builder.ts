import { ExtentKind, ExtentList } from '../extents/extent-list.js';

/** Extents after which a map gets coarser, again and again: 285 MB of memory each time. */
const EXTENTS_PER_LEVEL = 1 << 24;
const FIRST_COARSE_BLOCK = 1 << 16;
const COARSER_BY = 16;

export interface ChangeMapBuilderOptions {
  /** Size of the disk. Bytes. */
  readonly size: number;
  /** Power of two up to 64 KiB: every extent but the last starts and ends on a multiple. Default 1. Bytes. */
  readonly block?: number | undefined;
  /** For tests. */
  readonly extentsPerLevel?: number | undefined;
}

/**
 * Builds a change map in whole blocks. A block in which everything is zero (or unchanged) stays so; any other
 * that is not of one kind becomes data, which is always right: what is stored is what the disk has there.
 *
 *   given      |data|zero      |zero|—         |—         |zero      |
 *   blocks of  |data           |data           |—         |zero      |
 *
 * Blocks are what the server can read at least: smaller reads would each take a whole block of memory. They get
 * larger when a server cuts its disk into too many extents: 64 KiB after 2^24 of them (the worst that QEMU does
 * with 1 TiB in a full), then 16 times more after each further 2^24. So a hostile server gets no unbounded memory.
 */
export class ChangeMapBuilder {
  readonly #list = new ExtentList();
  readonly #size: number;
  readonly #extentsPerLevel: number;
  #block: number;
  #level = 0;
  /** Everything before this byte is known. */
  #end = 0;
  /** The block that is not whole yet: where it starts and what it is so far. */
  #openStart = 0;
  #openKind: ExtentKind | undefined;

  constructor({ size, block = 1, extentsPerLevel = EXTENTS_PER_LEVEL }: ChangeMapBuilderOptions) {
    this.#size = size;
    this.#block = block;
    this.#extentsPerLevel = extentsPerLevel;
  }

  /** Appends a range, which does not start before the end of the one before; what is left out is unchanged. */
  append(offset: number, length: number, kind: ExtentKind): void {
    if (this.#block === 1) {
      this.#appendExactly(offset, length, kind);
      return;
    }
    if (offset > this.#end) this.#take(offset, ExtentKind.unchanged);
    this.#take(offset + length, kind);
  }

  /** Most servers read any byte, and there are millions of extents. */
  #appendExactly(offset: number, length: number, kind: ExtentKind): void {
    this.#emit(offset, offset + length, kind);
    this.#end = offset + length;
    this.#openStart = this.#end;
    this.#coarsenIfFull();
  }

  /** The whole map. */
  finish(): ExtentList {
    if (this.#size > this.#end) this.#take(this.#size, ExtentKind.unchanged);
    if (this.#openKind !== undefined) this.#emit(this.#openStart, this.#end, this.#openKind);
    this.#openKind = undefined;
    return this.#list;
  }

  /** Takes everything from {@link #end} to `end` as one kind. */
  #take(end: number, kind: ExtentKind): void {
    const start = this.#end;
    this.#end = end;
    const whole = end - (end % this.#block);
    if (start % this.#block !== 0) {
      const blockEnd = start - (start % this.#block) + this.#block;
      this.#openKind = this.#openKind === undefined || this.#openKind === kind ? kind : ExtentKind.data;
      if (end < blockEnd) return;
      this.#emit(this.#openStart, blockEnd, this.#openKind);
      this.#open(blockEnd);
    }
    if (whole > this.#openStart) this.#emit(this.#openStart, whole, kind);
    this.#open(whole);
    if (end > whole) this.#openKind = kind;
    this.#coarsenIfFull();
  }

  #open(start: number): void {
    this.#openStart = start;
    this.#openKind = undefined;
  }

  #emit(start: number, end: number, kind: ExtentKind): void {
    if (kind !== ExtentKind.unchanged) this.#list.append(start, end - start, kind);
  }

  /** A block that is open stays open, up to where the larger one ends. */
  #coarsenIfFull(): void {
    if (this.#list.count < (this.#level + 1) * this.#extentsPerLevel) return;
    this.#block = this.#level === 0 ? FIRST_COARSE_BLOCK : this.#block * COARSER_BY;
    this.#level++;
  }
}
