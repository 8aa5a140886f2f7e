import { NbdConnectionError } from '../errors.js';
import type { StatusRun } from '../nbd/client/status-run.js';

/** A server may cut its disk as finely as it likes at first; after so many extents, 512 bytes each on average. */
const FREE_EXTENTS = 1 << 22;
const LEAST_AVERAGE = 512;

/**
 * Where one meta context stands. Each context has its own cursor: a reply's coverage in one context says
 * nothing about another (QEMU cuts them at different places).
 *
 *            0        position            end                  size
 *   context  |--used--|====run, unused====|......not asked yet...|
 */
export class ContextCursor {
  readonly name: string;
  readonly #size: number;
  #run: StatusRun | undefined;
  #index = 0;
  /** First byte of the current extent that is not used yet. */
  #position = 0;
  #extentEnd = 0;
  #runEnd = 0;
  #extents = 0;

  constructor(name: string, size: number) {
    this.name = name;
    this.#size = size;
  }

  /** First byte not consumed yet. */
  get position(): number {
    return this.#position;
  }

  /** Whether the status at {@link position} is known. */
  get known(): boolean {
    return this.#position < this.#runEnd;
  }

  /** Status flags at {@link position}; only when {@link known}. */
  get status(): number {
    return this.#run!.statuses[this.#index]!;
  }

  /** End of the current extent, clipped to the export. */
  get extentEnd(): number {
    return Math.min(this.#extentEnd, this.#size);
  }

  /**
   * Takes in a reply. One that starts after what is known would leave a gap, one that ends at or before
   * {@link position} is no progress; bytes already known are skipped.
   */
  accept(run: StatusRun): void {
    if (this.known) return;
    if (run.offset > this.#runEnd || run.offset + run.total <= this.#position) {
      throw new NbdConnectionError(
        'NBD_PROTOCOL',
        `block status of "${this.name}" from ${run.offset} covers ${run.total} bytes and makes no progress at ${this.#position}`,
      );
    }
    this.#extents += run.lengths.length;
    this.#checkAverage(run.offset);
    this.#run = run;
    this.#index = 0;
    this.#extentEnd = run.offset + run.lengths[0]!;
    this.#runEnd = Math.min(run.offset + run.total, this.#size);
    this.#skipUsed();
  }

  /** No disk is cut like this; a server that says so keeps us busy for years. */
  #checkAverage(known: number): void {
    if (this.#extents <= FREE_EXTENTS || known >= (this.#extents - FREE_EXTENTS) * LEAST_AVERAGE) return;
    throw new NbdConnectionError(
      'NBD_PROTOCOL',
      `block status of "${this.name}" takes ${this.#extents} extents for ${known} bytes, expected at least ${LEAST_AVERAGE} bytes each`,
    );
  }

  /** Moves to `offset`, at most {@link extentEnd}. */
  advance(offset: number): void {
    this.#position = offset;
    this.#skipUsed();
  }

  #skipUsed(): void {
    const lengths = this.#run!.lengths;
    while (this.#extentEnd <= this.#position && this.#index + 1 < lengths.length) {
      this.#index++;
      this.#extentEnd += lengths[this.#index]!;
    }
  }
}
