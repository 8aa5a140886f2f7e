/** Streams remembered: a client reads over several connections, and there are several clients. */
const REMEMBERED = 16;

/** Tells reads that go on where an earlier one ended from those that jump about. */
export class SequentialStreams {
  /** Where reads ended, the most recent last. */
  readonly #ends: number[] = [];

  /** Whether the read from `offset` to `end` goes on with an earlier one; remembers it. */
  continues(offset: number, end: number): boolean {
    const known = this.#ends.indexOf(offset);
    if (known >= 0) this.#ends.splice(known, 1);
    else if (this.#ends.length === REMEMBERED) this.#ends.shift();
    this.#ends.push(end);
    return known >= 0;
  }
}
