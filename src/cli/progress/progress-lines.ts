import type { Progress } from '../../operations/progress.js';
import { formatDuration } from '../display/format.js';
import type { Output } from '../output.js';
import { PHASE_NAMES, type ProgressDisplay } from './progress-display.js';
import { ProgressMeter } from './progress-meter.js';

/** For a log, not for eyes that wait. */
const EVERY_MS = 5_000;
/** A phase that is over sooner is not worth a line. */
const WORTH_MS = 1_000;

/** A plain line now and then, and one at the end of a phase that took its time. */
export class ProgressLines implements ProgressDisplay {
  readonly #output: Output;
  readonly #now: () => number;
  #meter: ProgressMeter | undefined;
  #printedAt = 0;
  #isOver = false;

  constructor(output: Output, now: () => number) {
    this.#output = output;
    this.#now = now;
  }

  update(progress: Progress): void {
    const now = this.#now();
    if (this.#meter?.disk !== progress.disk || this.#meter.phase !== progress.phase) {
      this.#meter = new ProgressMeter(progress, now);
      this.#printedAt = now;
      this.#isOver = false;
    }
    this.#meter.add(progress, now);
    if (this.#meter.isComplete) this.#end(this.#meter, now);
    else if (now - this.#printedAt >= EVERY_MS) this.#print(this.#meter, now);
  }

  clear(): void {}

  #print(meter: ProgressMeter, now: number): void {
    this.#printedAt = now;
    const percent = `${Math.floor(meter.share * 100)}%`;
    const rest = [meter.rate(now), meter.timeLeft(now)].filter(Boolean).join(', ');
    this.#say(meter, `${percent}, ${meter.amount}${rest && `, ${rest}`}`);
  }

  #end(meter: ProgressMeter, now: number): void {
    const elapsed = now - meter.startedAt;
    if (!this.#isOver && elapsed >= WORTH_MS) {
      this.#say(meter, `done, ${meter.amount} in ${formatDuration(elapsed)}, ${meter.averageRate(now)}`);
    }
    this.#isOver = true;
  }

  #say(meter: ProgressMeter, text: string): void {
    this.#output.line(`${meter.disk} ${PHASE_NAMES[meter.phase]}: ${text}`);
  }
}
