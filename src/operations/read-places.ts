/**
 * A bound on reads under way: each piece of a frame is a command of its own, and a disk may have thousands of
 * pieces in a frame. First come, first served.
 */
export class ReadPlaces {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** Takes a place; undefined when one is free at once. */
  enter(): Promise<void> | undefined {
    if (this.#free === 0) return new Promise(resolve => this.#waiting.push(resolve));
    this.#free--;
    return undefined;
  }

  /** Gives the place to who waits longest. */
  leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}
