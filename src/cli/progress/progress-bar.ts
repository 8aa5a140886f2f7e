import type { Progress } from '../../operations/progress.js';
import type { Output } from '../output.js';
import { PHASE_NAMES, type ProgressDisplay } from './progress-display.js';
import { ProgressMeter } from './progress-meter.js';

/** At most ten pictures a second. */
const FRAME_MS = 100;
const BAR_WIDTH = 24;
const CLEAR_LINE = '\r\u001b[2K';

/** One line of a terminal, drawn again and again. */
export class ProgressBar implements ProgressDisplay {
  readonly #output: Output;
  readonly #now: () => number;
  #meter: ProgressMeter | undefined;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #isShown = false;

  constructor(output: Output, now: () => number) {
    this.#output = output;
    this.#now = now;
  }

  update(progress: Progress): void {
    const now = this.#now();
    if (this.#meter?.disk !== progress.disk || this.#meter.phase !== progress.phase) {
      this.#meter = new ProgressMeter(progress, now);
    }
    this.#meter.add(progress, now);
    if (now - this.#drawnAt < FRAME_MS) return;
    this.#drawnAt = now;
    this.#isShown = true;
    this.#output.write(CLEAR_LINE + this.#draw(this.#meter, now));
  }

  clear(): void {
    if (this.#isShown) this.#output.write(CLEAR_LINE);
    this.#isShown = false;
  }

  #draw(meter: ProgressMeter, now: number): string {
    const { style, unicode, columns } = this.#output.view;
    const filled = Math.round(meter.share * BAR_WIDTH);
    const [full, empty] = unicode ? ['█', '░'] : ['#', '.'];
    const percent = `${Math.floor(meter.share * 100)}%`.padStart(4);
    const head = `${meter.disk} ${PHASE_NAMES[meter.phase]}`;
    const tail = [percent, meter.amount, meter.rate(now), meter.timeLeft(now)].filter(Boolean).join('  ');
    const room = columns - 1;
    // A line that wraps cannot be cleared: on a narrow terminal the bar goes first, then the end of the text.
    if (head.length + tail.length + BAR_WIDTH + 3 > room) return `${head} ${tail}`.slice(0, room);
    return `${head} ${style.green(full!.repeat(filled))}${style.dim(empty!.repeat(BAR_WIDTH - filled))} ${tail}`;
  }
}
