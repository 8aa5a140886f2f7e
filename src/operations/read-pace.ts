/** What a pause may be made up for: timers fire late, and a source may stall. */
const CATCH_UP_MS = 100;

/**
 * Spreads reads over time, so that a guest keeps its storage to itself while it is pulled. A read begins when what was
 * asked for before it has had its time; none is cut, so no more than one read is ever early.
 */
export class ReadPace implements Disposable {
  readonly #bytesPerMs: number;
  readonly #signal: AbortSignal | undefined;
  readonly #waiting = new Map<NodeJS.Timeout, () => void>();
  readonly #onAbort = () => this.stop();
  /** When the next read may begin, on the clock of `performance.now`. */
  #next = Number.NEGATIVE_INFINITY;
  #stopped = false;

  /** @param bytesPerSecond at least {@link MIN_RATE}. @param signal wakes all who wait, as {@link stop} does. */
  constructor(bytesPerSecond: number, signal?: AbortSignal) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#signal = signal;
    if (signal?.aborted) this.stop();
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Waits for a read's turn; undefined when it may begin at once. Never rejects: what was stopped, its owner knows. */
  wait(bytes: number): Promise<void> | undefined {
    if (this.#stopped) return undefined;
    const now = performance.now();
    const start = Math.max(this.#next, now - CATCH_UP_MS);
    this.#next = start + bytes / this.#bytesPerMs;
    if (start <= now) return undefined;
    return new Promise(resolve => {
      const timer = setTimeout(() => {
        this.#waiting.delete(timer);
        resolve();
      }, start - now);
      this.#waiting.set(timer, resolve);
    });
  }

  /** Lets everybody go, now and from now on: when reading has failed, nobody needs to wait to hear of it. */
  stop(): void {
    this.#stopped = true;
    for (const [timer, resolve] of this.#waiting) {
      clearTimeout(timer);
      resolve();
    }
    this.#waiting.clear();
  }

  [Symbol.dispose](): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.stop();
  }
}

/** Slowest pace, bytes per second: below it a disk takes days, and its point in time must be held all that while. */
export const MIN_RATE = 64 * 1024;
