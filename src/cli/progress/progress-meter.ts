import type { Progress } from '../../operations/progress.js';
import { formatBytes, formatDuration, formatRate } from '../display/format.js';

/** How far back the rate looks. */
const WINDOW_MS = 5_000;
const SAMPLE_MS = 250;

/** Follows one phase of one disk: share, rate over the last seconds, time left. */
export class ProgressMeter {
  readonly phase: Progress['phase'];
  readonly disk: string;
  readonly startedAt: number;
  #last: Progress;
  #samples: { readonly at: number; readonly done: number }[];

  constructor(first: Progress, now: number) {
    this.phase = first.phase;
    this.disk = first.disk;
    this.startedAt = now;
    this.#last = first;
    this.#samples = [{ at: now, done: first.done }];
  }

  add(progress: Progress, now: number): void {
    this.#last = progress;
    if (now - this.#samples[this.#samples.length - 1]!.at < SAMPLE_MS) return;
    this.#samples.push({ at: now, done: progress.done });
    while (this.#samples.length > 2 && this.#samples[1]!.at < now - WINDOW_MS) this.#samples.shift();
  }

  /** From 0 to 1. Nothing to do is done. */
  get share(): number {
    const { done, total } = this.#last;
    return total > 0 ? Math.min(1, done / total) : 1;
  }

  get isComplete(): boolean {
    return this.#last.done >= this.#last.total;
  }

  /** `1.20 GiB / 3.00 GiB`. */
  get amount(): string {
    return `${formatBytes(this.#last.done)} / ${formatBytes(this.#last.total)}`;
  }

  /** Bytes per millisecond of late; undefined before there is anything to say. */
  #speed(now: number): number | undefined {
    const from = this.#samples[0]!;
    const elapsed = now - from.at;
    const done = this.#last.done - from.done;
    return elapsed >= SAMPLE_MS && done > 0 ? done / elapsed : undefined;
  }

  rate(now: number): string {
    const speed = this.#speed(now);
    return speed === undefined ? '' : formatRate(speed, 1);
  }

  /** Rate over the whole phase. */
  averageRate(now: number): string {
    return formatRate(this.#last.done, now - this.startedAt);
  }

  timeLeft(now: number): string {
    const speed = this.#speed(now);
    if (speed === undefined || this.isComplete) return '';
    const seconds = Math.ceil((this.#last.total - this.#last.done) / speed / 1000);
    return `${formatDuration(seconds * 1000).replace(/\.\d s$/, ' s')} left`;
  }
}
