import { describe, expect, it } from 'vitest';
import { ReadWindow } from '#nbdelta/nbd/client/read-window.js';

const MIB = 1 << 20;

/** Reads `total` bytes in requests of 1 MiB through a window, from a server whose rate follows from what is under way. */
function read(total: number, rateOf: (underWay: number) => number) {
  let now = 0;
  const window = new ReadWindow(undefined, () => now);
  let asked = 0;
  let underWay = 0;
  let most = 0;
  const start = () => {
    underWay += MIB;
    most = Math.max(most, underWay);
  };
  const ask = () => {
    for (; asked < total; asked += MIB) {
      const wait = window.enter(MIB);
      if (wait) {
        asked += MIB;
        // A waiting read starts inside the `leave` that makes room for it; its promise tells only later.
        pending++;
        return;
      }
      start();
    }
  };
  let pending = 0;
  ask();
  for (let done = 0; done < total; done += MIB) {
    now += MIB / rateOf(underWay);
    underWay -= MIB;
    window.leave(MIB);
    if (pending > 0) {
      pending--;
      start();
    }
    if (pending === 0) ask();
  }
  return { window, most };
}

describe('ReadWindow', () => {
  it('stays small for a server that more requests make slower', () => {
    const { window } = read(2048 * MIB, underWay => (underWay > 2 * MIB ? 1 : 3) * 1000 * 1000);
    expect(window.limit).toBeLessThanOrEqual(4 * MIB);
  });

  it('stays small for a server that is as fast with few', () => {
    const { window } = read(2048 * MIB, () => 300_000);
    expect(window.limit).toBeLessThanOrEqual(4 * MIB);
  });

  it.each([3, 7, 20, 50])('does not take the noise of a busy machine for a gain (period %i)', period => {
    let reads = 0;
    const { window } = read(2048 * MIB, () => 300_000 * (1 + 0.15 * Math.sin(reads++ / period)));
    expect(window.limit).toBeLessThanOrEqual(4 * MIB);
  });

  it('stays as it is when it was set, whatever the server does', () => {
    const window = new ReadWindow(3 * MIB, () => 0);
    expect(window.limit).toBe(3 * MIB);
    let now = 0;
    const set = new ReadWindow(MIB, () => now);
    for (let index = 0; index < 500; index++) {
      void set.enter(MIB);
      now += 1000 / (index + 1);
      set.leave(MIB);
    }
    expect(set.limit).toBe(MIB);
  });

  it('grows for storage far away, up to its bound', () => {
    const { window, most } = read(4096 * MIB, underWay => underWay / 50);
    expect(window.limit).toBe(32 * MIB);
    expect(most).toBeLessThanOrEqual(33 * MIB);
  });

  it('lets a read larger than the window go alone, and never more than 256 at once', () => {
    const window = new ReadWindow(undefined, () => 0);
    expect(window.enter(100 * MIB)).toBeUndefined();
    expect(window.enter(1)).toBeInstanceOf(Promise);
    const many = new ReadWindow(undefined, () => 0);
    for (let index = 0; index < 256; index++) expect(many.enter(1)).toBeUndefined();
    expect(many.enter(1)).toBeInstanceOf(Promise);
  });

  it('gives room to who waits longest', async () => {
    const window = new ReadWindow(undefined, () => 0);
    window.enter(2 * MIB);
    const order: string[] = [];
    const large = window.enter(1.5 * MIB)!.then(() => order.push('large'));
    const small = window.enter(0.5 * MIB)!.then(() => order.push('small'));
    window.leave(2 * MIB);
    await Promise.all([large, small]);
    expect(order).toEqual(['large', 'small']);
  });
});
