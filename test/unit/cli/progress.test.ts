import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Output } from '#nbdelta/cli/output.js';
import { openProgress } from '#nbdelta/cli/progress/progress-display.js';
import { ProgressMeter } from '#nbdelta/cli/progress/progress-meter.js';

const MIB = 1 << 20;

class Screen extends Writable {
  readonly isTTY: boolean;
  readonly columns = 80;
  readonly writes: string[] = [];

  constructor(isTTY: boolean) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(text: string, _encoding: string, done: () => void): void {
    this.writes.push(text);
    done();
  }
}

function open(isTTY: boolean, silent = false) {
  const screen = new Screen(isTTY);
  const clock = { ms: 0 };
  const display = openProgress(new Output(screen), { silent, now: () => clock.ms });
  const update = (ms: number, done: number, total = 100 * MIB, disk = 'vda') => {
    clock.ms = ms;
    display.update({ phase: 'data', disk, done, total });
  };
  return { screen, display, update };
}

describe('on a terminal', () => {
  it('draws at most ten times a second, with share, amount, rate and time left', () => {
    const { screen, update } = open(true);
    for (let ms = 0; ms <= 1000; ms++) update(ms, ms * 0.05 * MIB);
    expect(screen.writes.length).toBeLessThanOrEqual(11);
    const last = screen.writes.at(-1)!;
    expect(last).toContain('50%');
    expect(last).toMatch(/50\.0 MiB \/ 100 MiB {2}50\.\d MiB\/s {2}1 s left/);
  });

  it('never wraps, and takes itself away at the end, once', () => {
    const { screen, display, update } = open(true);
    update(0, 0, 100 * MIB, 'a-disk-with-a-name-that-is-very-much-longer-than-the-names-of-other-disks-are');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what clears a line begins with one
    expect(screen.writes[0]!.replace(/\r\u001b\[2K/, '').length).toBeLessThan(80);
    display.clear();
    display.clear();
    expect(screen.writes.slice(1)).toEqual(['\r\u001b[2K']);
  });
});

describe('in a log', () => {
  it('writes a line every few seconds and one at the end', () => {
    const { screen, update } = open(false);
    for (let ms = 0; ms <= 20_000; ms += 100) update(ms, (ms / 20_000) * 100 * MIB);
    update(20_100, 100 * MIB);
    expect(screen.writes).toHaveLength(4);
    expect(screen.writes[0]).toMatch(
      /^vda moving data: 25%, 25\.0 MiB \/ 100 MiB, 5\.00 MiB\/s, 15 s left\n$/,
    );
    expect(screen.writes[3]).toMatch(
      /^vda moving data: done, 100 MiB \/ 100 MiB in 20\.0 s, 5\.00 MiB\/s\n$/,
    );
  });

  it('says nothing of what is over at once', () => {
    const { screen, update } = open(false);
    update(0, 0);
    update(300, 100 * MIB);
    expect(screen.writes).toEqual([]);
  });
});

describe('quiet', () => {
  it('writes nothing at all', () => {
    const { screen, display, update } = open(true, true);
    update(0, 0);
    update(60_000, 100 * MIB);
    display.clear();
    expect(screen.writes).toEqual([]);
  });
});

describe('ProgressMeter', () => {
  it('is done when there is nothing to do', () => {
    const meter = new ProgressMeter({ phase: 'data', disk: 'vda', done: 0, total: 0 }, 0);
    expect(meter.share).toBe(1);
    expect(meter.isComplete).toBe(true);
    expect(meter.timeLeft(1000)).toBe('');
  });

  it('forgets how fast it once was', () => {
    const at = (done: number) => ({ phase: 'data', disk: 'vda', done, total: 1000 * MIB }) as const;
    const meter = new ProgressMeter(at(0), 0);
    meter.add(at(500 * MIB), 1000);
    for (let ms = 2000; ms <= 30_000; ms += 500) meter.add(at(500 * MIB + (ms / 1000) * MIB), ms);
    expect(meter.rate(30_000)).toBe('1.00 MiB/s');
  });
});
