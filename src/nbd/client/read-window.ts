const MIB = 1 << 20;

/** Enough to keep a local server busy; more would fall out of its processor's cache before it is sent. */
const FLOOR = 2 * MIB;
/** Enough for storage that is far away; it is also the memory that unanswered reads can take. */
const CEILING = 32 * MIB;
const MAX_COMMANDS = 256;

/** A rate is measured over at least so much, while somebody waits. */
const EPOCH_BYTES = 16 * MIB;
const EPOCH_MS = 30;
/** A larger window that nobody fills in so many bytes goes back: nothing speaks for it. */
const IDLE_BYTES = 64 * MIB;
/** A larger window must read this much faster to stay, twice: once may be the noise of a busy machine. */
const GAIN = 1.3;
/** So much faster is no noise: storage far away reads twice as fast with twice as much under way. */
const CLEAR_GAIN = 1.7;
/** Epochs until a larger window is tried again. */
const HOLD = 16;

interface Waiting {
  readonly bytes: number;
  readonly go: () => void;
}

/**
 * How many bytes of reads are under way at once. It starts small and is doubled as long as that reads faster:
 * storage far away needs many requests to be busy, while a server next door gets slower with more (a full of 2 GiB
 * from memory: 1.2 s of the server's time with 2 MiB under way, 2.0 s with 4 and more). First come, first served.
 */
export class ReadWindow {
  readonly #now: () => number;
  readonly #isFixed: boolean;
  readonly #waiting: Waiting[] = [];
  #limit: number;
  /** The window that proved itself, and its rate in bytes per millisecond. */
  #proven = { limit: FLOOR, rate: 0 };
  /** Whether the larger window read faster once already. */
  #promising = false;
  /** Epochs to come before a larger window is tried. The first one is slow: everything begins. */
  #hold = 1;
  #bytes = 0;
  #commands = 0;
  /** What was read while somebody waited for room, how long that was, and what was read in all. */
  #epoch = { bytes: 0, ms: 0, total: 0 };
  #waitingSince: number | undefined;

  /** @param fixed bytes that never change, if given. @param now a clock in milliseconds. */
  constructor(fixed?: number, now: () => number = () => performance.now()) {
    this.#limit = fixed ?? FLOOR;
    this.#isFixed = fixed !== undefined;
    this.#now = now;
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
    this.#waitingSince ??= this.#now();
    return new Promise(go => this.#waiting.push({ bytes, go }));
  }

  /** Gives the room back, to whoever waits longest. */
  leave(bytes: number): void {
    this.#bytes -= bytes;
    this.#commands--;
    this.#epoch.total += bytes;
    if (this.#waitingSince !== undefined) this.#epoch.bytes += bytes;
    if (!this.#isFixed && this.#epoch.total >= EPOCH_BYTES) this.#judge();
    while (this.#waiting.length > 0 && this.#fits(this.#waiting[0]!.bytes)) {
      const { bytes: next, go } = this.#waiting.shift()!;
      this.#take(next);
      go();
    }
    if (this.#waiting.length === 0) this.#stopClock();
  }

  /** When nobody waits, the window is not what limits the rate: that time tells nothing. */
  #stopClock(): void {
    if (this.#waitingSince === undefined) return;
    this.#epoch.ms += this.#now() - this.#waitingSince;
    this.#waitingSince = undefined;
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
    const waitsStill = this.#waitingSince !== undefined;
    this.#stopClock();
    if (waitsStill) this.#waitingSince = this.#now();
    const { bytes, ms, total } = this.#epoch;
    if (bytes >= EPOCH_BYTES && ms >= EPOCH_MS) {
      this.#epoch = { bytes: 0, ms: 0, total: 0 };
      const rate = bytes / ms;
      if (this.#limit > this.#proven.limit) this.#judgeLarger(rate);
      else this.#judgeProven(rate);
    } else if (total >= IDLE_BYTES && this.#limit > this.#proven.limit) {
      this.#epoch = { bytes: 0, ms: 0, total: 0 };
      this.#goBack();
    }
  }

  #judgeLarger(rate: number): void {
    const gain = rate / this.#proven.rate;
    if (gain >= CLEAR_GAIN || (gain >= GAIN && this.#promising)) {
      this.#proven = { limit: this.#limit, rate };
      this.#promising = false;
      this.#limit = Math.min(CEILING, this.#limit * 2);
      return;
    }
    this.#promising = gain >= GAIN;
    this.#goBack();
  }

  /** To the window that proved itself: at once for a second look at both, or for a while. */
  #goBack(): void {
    this.#limit = this.#proven.limit;
    this.#hold = this.#promising ? 0 : HOLD;
  }

  #judgeProven(rate: number): void {
    this.#proven.rate = rate;
    if (this.#hold-- > 0) return;
    this.#limit = Math.min(CEILING, this.#proven.limit * 2);
  }
}
