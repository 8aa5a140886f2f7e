const MIB = 1 << 20;

/** Enough to keep a local server busy; more would fall out of its processor's cache before it is sent. */
const FLOOR = 2 * MIB;
/** Enough for storage that is far away; it is also the memory that unanswered reads can take. */
const CEILING = 32 * MIB;
const MAX_COMMANDS = 256;

/** A rate is measured over at least so much, while somebody waits. */
const EPOCH_BYTES = 16 * MIB;
const EPOCH_MS = 30;
/** When nobody fills a window on trial, it is measured over so much, by the clock. */
const UNFILLED_BYTES = 64 * MIB;
/** A larger window must read this much faster to stay, twice: once may be the noise of a busy machine. */
const GAIN = 1.3;
/** So much faster is no noise: storage far away reads twice as fast with twice as much under way. */
const CLEAR_GAIN = 1.7;
/** A smaller window stays when it is about as fast. */
const SAME = 0.95;
/** What an epoch may lower the rate of the proven window to: one that stalled must not make others look good. */
const MEMORY = 0.9;
/** Epochs until another window is tried again. */
const HOLD = 16;

export interface ReadWindowOptions {
  /** Bytes that never change; by default the window adapts. */
  readonly fixed?: number | undefined;
  /** Largest read; at least two of them fit into a window that adapts. Bytes. */
  readonly requestBytes?: number;
  /** A clock in milliseconds. */
  readonly now?: () => number;
}

interface Waiting {
  readonly bytes: number;
  readonly go: () => void;
}

/**
 * How many bytes of reads are under way at once. It starts small and is doubled as long as that reads faster:
 * storage far away needs many requests to be busy, while a server next door gets slower with more (a full of 2 GiB
 * from memory: 1.2 s of the server's time with 2 MiB under way, 2.0 s with 4 and more). Now and then a window twice as
 * large, or half as large, is tried again. First come, first served.
 */
export class ReadWindow {
  readonly #now: () => number;
  readonly #isFixed: boolean;
  readonly #bounds: { readonly floor: number; readonly ceiling: number };
  readonly #waiting: Waiting[] = [];
  #limit: number;
  /** The window that proved itself, and its rate in bytes per millisecond. */
  #proven: { limit: number; rate: number };
  /** Whether the larger window read faster once already. */
  #promising = false;
  /** Epochs to come before another window is tried. The first one is slow: everything begins. */
  #hold = 1;
  #triesSmaller = false;
  #bytes = 0;
  #commands = 0;
  /** When it began, what was read since, and of that what was read while somebody waited, and how long that was. */
  #epoch: { start: number; total: number; bytes: number; ms: number };
  #waitingSince: number | undefined;

  constructor({ fixed, requestBytes = 512 << 10, now = () => performance.now() }: ReadWindowOptions = {}) {
    const floor = Math.max(FLOOR, 2 * requestBytes);
    this.#bounds = { floor, ceiling: Math.max(CEILING, floor) };
    this.#limit = fixed ?? floor;
    this.#proven = { limit: this.#limit, rate: 0 };
    this.#isFixed = fixed !== undefined;
    this.#now = now;
    this.#epoch = this.#newEpoch();
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

  #newEpoch() {
    return { start: this.#now(), total: 0, bytes: 0, ms: 0 };
  }

  /** At the end of an epoch: is this window faster than the one that proved itself? */
  #judge(): void {
    const rate = this.#measuredRate();
    if (rate === undefined) return;
    this.#epoch = this.#newEpoch();
    if (this.#waitingSince !== undefined) this.#waitingSince = this.#epoch.start;
    if (this.#limit === this.#proven.limit) this.#judgeProven(rate);
    else if (this.#limit > this.#proven.limit) this.#judgeLarger(rate);
    else this.#judgeSmaller(rate);
  }

  /** Bytes per millisecond; undefined while there is too little to tell. */
  #measuredRate(): number | undefined {
    const now = this.#now();
    const { start, total, bytes } = this.#epoch;
    const ms = this.#epoch.ms + (this.#waitingSince === undefined ? 0 : now - this.#waitingSince);
    // What was asked for before a window changed still arrives in the old one's time.
    const enough = Math.max(EPOCH_BYTES, 2 * this.#limit);
    if (bytes >= enough && ms >= EPOCH_MS) return bytes / ms;
    const isTrial = this.#limit !== this.#proven.limit;
    if (isTrial && total >= UNFILLED_BYTES && now - start >= EPOCH_MS) return total / (now - start);
    return undefined;
  }

  #judgeLarger(rate: number): void {
    const gain = rate / this.#proven.rate;
    if (gain >= CLEAR_GAIN || (gain >= GAIN && this.#promising)) {
      this.#proven = { limit: this.#limit, rate };
      this.#promising = false;
      this.#limit = this.#larger();
      return;
    }
    this.#promising = gain >= GAIN;
    this.#goBack();
  }

  #judgeSmaller(rate: number): void {
    if (rate >= SAME * this.#proven.rate) this.#proven = { limit: this.#limit, rate };
    this.#goBack();
  }

  /** To the window that proved itself: at once for a second look at both, or for a while. */
  #goBack(): void {
    this.#limit = this.#proven.limit;
    this.#hold = this.#promising ? 0 : HOLD;
  }

  #judgeProven(rate: number): void {
    this.#proven.rate = Math.max(rate, MEMORY * this.#proven.rate);
    if (this.#hold-- > 0) return;
    const { floor } = this.#bounds;
    this.#triesSmaller = !this.#triesSmaller && !this.#promising && this.#limit > floor;
    this.#limit = this.#triesSmaller ? Math.max(floor, this.#limit / 2) : this.#larger();
  }

  #larger(): number {
    return Math.min(this.#bounds.ceiling, this.#proven.limit * 2);
  }
}
