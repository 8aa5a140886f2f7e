const MIB = 1 << 20;

/** Enough to keep a local server busy; more would fall out of the processor's cache before anybody looks at it. */
const FLOOR = 4 * MIB;
/** Enough for storage that is far away; it is also the memory that unanswered reads can take. */
const CEILING = 32 * MIB;
const MAX_COMMANDS = 256;

/** A rate is measured over at least so much. */
const EPOCH_BYTES = 16 * MIB;
const EPOCH_MS = 30;
/** A larger window must read this much faster to stay. */
const GAIN = 1.1;
/** Epochs until a larger window is tried again. */
const HOLD = 16;

interface Waiting {
  readonly bytes: number;
  readonly go: () => void;
}

/**
 * How many bytes of reads are under way at once. It starts small and is doubled as long as that reads faster:
 * storage far away needs many requests to be busy, while a server next door gets slower with more (2 GiB from
 * memory: 0.7 s with 4 MiB under way, 1.2 s with 16). First come, first served.
 */
export class ReadWindow {
  readonly #now: () => number;
  readonly #waiting: Waiting[] = [];
  #limit = FLOOR;
  /** The window that proved itself, and its rate in bytes per millisecond. */
  #proven = { limit: FLOOR, rate: 0 };
  #hold = 0;
  #bytes = 0;
  #commands = 0;
  #epoch = { start: 0, bytes: 0, limited: false };

  /** @param now a clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#epoch.start = now();
  }

  /** Bytes that may be under way now. */
  get limit(): number {
    return this.#limit;
  }

  /** Takes room for a read; undefined when there is some at once. */
  enter(bytes: number): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#take(bytes);
      return undefined;
    }
    this.#epoch.limited = true;
    return new Promise(go => this.#waiting.push({ bytes, go }));
  }

  /** Gives the room back, to whoever waits longest. */
  leave(bytes: number): void {
    this.#bytes -= bytes;
    this.#commands--;
    this.#epoch.bytes += bytes;
    if (this.#epoch.bytes >= EPOCH_BYTES) this.#judge();
    while (this.#waiting.length > 0 && this.#fits(this.#waiting[0]!.bytes)) {
      const { bytes: next, go } = this.#waiting.shift()!;
      this.#take(next);
      go();
    }
  }

  /** A read larger than the window goes alone. */
  #fits(bytes: number): boolean {
    if (this.#commands === 0) return true;
    return this.#bytes + bytes <= this.#limit && this.#commands < MAX_COMMANDS;
  }

  #take(bytes: number): void {
    this.#bytes += bytes;
    this.#commands++;
  }

  /** At the end of an epoch: was this window faster than the one that proved itself? */
  #judge(): void {
    const now = this.#now();
    const { start, bytes, limited } = this.#epoch;
    if (now - start < EPOCH_MS) return;
    this.#epoch = { start: now, bytes: 0, limited: false };
    // When nobody waited, the window was not what limited the rate: nothing is learned.
    if (!limited) return;
    const rate = bytes / (now - start);
    if (this.#limit > this.#proven.limit) this.#judgeLarger(rate);
    else this.#judgeProven(rate);
  }

  #judgeLarger(rate: number): void {
    if (rate < this.#proven.rate * GAIN) {
      this.#limit = this.#proven.limit;
      this.#hold = HOLD;
      return;
    }
    this.#proven = { limit: this.#limit, rate };
    this.#limit = Math.min(CEILING, this.#limit * 2);
  }

  #judgeProven(rate: number): void {
    this.#proven.rate = rate;
    if (this.#hold-- > 0) return;
    this.#limit = Math.min(CEILING, this.#proven.limit * 2);
  }
}
