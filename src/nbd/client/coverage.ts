import { wireFault } from '../protocol/wire-fault.js';

/** Each chunk out of order moves the ranges behind it: a bound keeps a hostile server from taking all our time. */
const MAX_FRAGMENTS = 4096;

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

  /** @throws NbdConnectionError (NBD_PROTOCOL) when a byte is covered twice, or of too many fragments. */
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
    const joinsPrevious = at > 0 && this.#ends[at - 1] === start;
    const joinsNext = at < this.#starts.length && this.#starts[at] === end;
    if (joinsPrevious) this.#ends[at - 1] = end;
    else if (joinsNext) this.#starts[at] = start;
    else this.#addRange(at, start, end);
    if (!joinsPrevious || !joinsNext) return;
    this.#ends[at - 1] = this.#ends[at]!;
    this.#starts.splice(at, 1);
    this.#ends.splice(at, 1);
  }

  #addRange(at: number, start: number, end: number): void {
    if (this.#starts.length >= MAX_FRAGMENTS) {
      throw wireFault(`read reply comes in more than ${MAX_FRAGMENTS} fragments that do not touch`);
    }
    this.#starts.splice(at, 0, start);
    this.#ends.splice(at, 0, end);
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
