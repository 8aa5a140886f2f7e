import { wireFault } from '../protocol/wire-fault.js';

/**
 * Which bytes of a READ have arrived. Chunks may come in any order, never twice over the same byte, and
 * together they must fill the request: a byte that never came must not pass for data.
 */
export class Coverage {
  /** Covered ranges in ascending order, touching ones joined. */
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #bytes = 0;

  /** Bytes covered so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws NbdConnectionError (NBD_PROTOCOL) when a byte is covered twice. */
  add(offset: number, length: number): void {
    const at = this.#position(offset);
    const end = offset + length;
    const overlapsPrevious = at > 0 && this.#ends[at - 1]! > offset;
    const overlapsNext = at < this.#starts.length && this.#starts[at]! < end;
    if (overlapsPrevious || overlapsNext) throw wireFault(`read reply covers ${offset}+${length} twice`);
    this.#bytes += length;
    this.#insert(at, offset, end);
  }

  #insert(at: number, start: number, end: number): void {
    if (at > 0 && this.#ends[at - 1] === start) {
      this.#ends[at - 1] = end;
    } else {
      this.#starts.splice(at, 0, start);
      this.#ends.splice(at, 0, end);
    }
  }

  /** Index of the first range that starts after `offset`; chunks mostly ascend, so it is mostly the end. */
  #position(offset: number): number {
    let low = 0;
    let high = this.#starts.length;
    if (high > 0 && this.#starts[high - 1]! <= offset) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
