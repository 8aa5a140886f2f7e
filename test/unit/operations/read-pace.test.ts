import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ReadPace } from '#nbdelta/operations/read-pace.js';

const KIB = 1024;
const RATE = 1000 * KIB; // a KiB is a millisecond

describe('the pace of reads', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** Starts reads one after another; says how many have begun. */
  function reading(
    pace: ReadPace,
    bytes: number,
    count: number,
  ): { begun: number; readonly done: Promise<void> } {
    const state = { begun: 0, done: Promise.resolve() };
    state.done = (async () => {
      for (let index = 0; index < count; index++) {
        await pace.wait(bytes);
        state.begun++;
      }
    })();
    return state;
  }

  it('lets through what the rate allows, and what lay idle for a tenth of a second', async () => {
    using pace = new ReadPace(RATE);
    const state = reading(pace, 50 * KIB, 1000);
    await vi.advanceTimersByTimeAsync(0);
    // 100 ms that may be made up for, and the one that begins now.
    expect(state.begun).toBe(3);
    await vi.advanceTimersByTimeAsync(1000);
    expect(state.begun).toBe(3 + 20);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(state.begun).toBe(3 + 20 + 200);
  });

  it('shares the rate between those who read at once', async () => {
    using pace = new ReadPace(RATE);
    const states = [reading(pace, 50 * KIB, 1000), reading(pace, 50 * KIB, 1000)];
    await vi.advanceTimersByTimeAsync(10_000);
    expect(states[0]!.begun + states[1]!.begun).toBe(3 + 200);
  });

  it('does not save up the time in which nobody read', async () => {
    using pace = new ReadPace(RATE);
    await vi.advanceTimersByTimeAsync(3_600_000);
    const state = reading(pace, 50 * KIB, 1000);
    await vi.advanceTimersByTimeAsync(0);
    expect(state.begun).toBe(3);
  });

  it('lets everybody go once stopped', async () => {
    using pace = new ReadPace(RATE);
    const states = [reading(pace, RATE * 60, 10), reading(pace, RATE * 60, 10)];
    await vi.advanceTimersByTimeAsync(0);
    expect(states.map(({ begun }) => begun)).toEqual([1, 0]);
    pace.stop();
    await Promise.all(states.map(({ done }) => done));
    expect(states.map(({ begun }) => begun)).toEqual([10, 10]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('lets everybody go when the signal is given, also before it began', async () => {
    const controller = new AbortController();
    using pace = new ReadPace(RATE, controller.signal);
    const state = reading(pace, RATE * 60, 10);
    await vi.advanceTimersByTimeAsync(0);
    controller.abort();
    await state.done;
    using late = new ReadPace(RATE, controller.signal);
    await reading(late, RATE * 60, 10).done;
    expect(vi.getTimerCount()).toBe(0);
  });
});
