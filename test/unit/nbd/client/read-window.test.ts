import { describe, expect, it } from 'vitest';
import { ReadWindow } from '#nbdelta/nbd/client/read-window.js';

const MIB = 1 << 20;

/**
 * Reads `total` bytes in requests of 1 MiB through a window, from a server whose rate (bytes per millisecond) follows from
 * what is under way. `slots`: the caller asks for so many at once, and no more.
 */
async function read(total: number, rateOf: (underWay: number) => number, slots = Number.POSITIVE_INFINITY) {
  let now = 0;
  const window = new ReadWindow({ now: () => now });
  let [asked, underWay, waiting, most] = [0, 0, 0, 0];
  const start = () => {
    underWay += MIB;
    most = Math.max(most, underWay);
  };
  const ask = () => {
    while (asked < total && waiting === 0 && underWay / MIB < slots) {
      asked += MIB;
      const wait = window.enter(MIB);
      if (wait === undefined) start();
      else {
        waiting++;
        void wait.then(() => {
          waiting--;
          start();
        });
      }
    }
  };
  ask();
  for (let done = 0; done < total; done += MIB) {
    now += MIB / rateOf(underWay);
    underWay -= MIB;
    window.leave(MIB);
    await Promise.resolve(); // whoever was let in starts
    ask();
  }
  return { window, most };
}

describe('ReadWindow', () => {
  it('stays small for a server that more requests make slower', async () => {
    const { window } = await read(2048 * MIB, underWay => (underWay > 2 * MIB ? 1 : 3) * 1000 * 1000);
    expect(window.limit).toBeLessThanOrEqual(4 * MIB);
  });

  it('stays small for a server that is as fast with few', async () => {
    const { window } = await read(2048 * MIB, () => 300_000);
    expect(window.limit).toBeLessThanOrEqual(4 * MIB);
  });

  it('stays large for storage far away that the caller has no more buffers for', async () => {
    const { window } = await read(4096 * MIB, underWay => underWay / 50, 8);
    expect(window.limit).toBeGreaterThanOrEqual(8 * MIB);
  });

  it('goes back from a window that was larger only while the server stalled', async () => {
    let reads = 0;
    const stalls = (index: number) => index % 300 < 16;
    const { window } = await read(8192 * MIB, () => (stalls(reads++) ? 30_000 : 300_000));
    expect(window.limit).toBeLessThanOrEqual(4 * MIB);
  });

  it('comes down again where less is as fast', async () => {
    let reads = 0;
    // Far away for the first 2 GiB, and next door after that.
    const { window } = await read(8192 * MIB, underWay => (reads++ < 2048 ? underWay / 50 : 300_000));
    expect(window.limit).toBeLessThanOrEqual(4 * MIB);
  });

  it('has two of the largest reads under way, however large they are', () => {
    const window = new ReadWindow({ requestBytes: 4 * MIB, now: () => 0 });
    expect([window.enter(4 * MIB), window.enter(4 * MIB)]).toEqual([undefined, undefined]);
    expect(window.enter(4 * MIB)).toBeInstanceOf(Promise);
    expect(new ReadWindow({ requestBytes: 64 * MIB }).limit).toBe(128 * MIB);
  });

  it.each([3, 7, 20, 50])(
    'does not take the noise of a busy machine for a gain (period %i)',
    async period => {
      let reads = 0;
      const { window } = await read(2048 * MIB, () => 300_000 * (1 + 0.15 * Math.sin(reads++ / period)));
      expect(window.limit).toBeLessThanOrEqual(4 * MIB);
    },
  );

  it('stays as it is when it was set, whatever the server does', () => {
    const window = new ReadWindow({ fixed: 3 * MIB, now: () => 0 });
    expect(window.limit).toBe(3 * MIB);
    let now = 0;
    const set = new ReadWindow({ fixed: MIB, now: () => now });
    for (let index = 0; index < 500; index++) {
      void set.enter(MIB);
      now += 1000 / (index + 1);
      set.leave(MIB);
    }
    expect(set.limit).toBe(MIB);
  });

  it('grows for storage far away, up to its bound', async () => {
    const { window, most } = await read(4096 * MIB, underWay => underWay / 50);
    expect(window.limit).toBe(32 * MIB);
    expect(most).toBeLessThanOrEqual(33 * MIB);
  });

  it('lets a read larger than the window go alone, and never more than 256 at once', () => {
    const window = new ReadWindow({ now: () => 0 });
    expect(window.enter(100 * MIB)).toBeUndefined();
    expect(window.enter(1)).toBeInstanceOf(Promise);
    const many = new ReadWindow({ now: () => 0 });
    for (let index = 0; index < 256; index++) expect(many.enter(1)).toBeUndefined();
    expect(many.enter(1)).toBeInstanceOf(Promise);
  });

  it('gives room to who waits longest', async () => {
    const window = new ReadWindow({ now: () => 0 });
    window.enter(2 * MIB);
    const order: string[] = [];
    const large = window.enter(1.5 * MIB)!.then(() => order.push('large'));
    const small = window.enter(0.5 * MIB)!.then(() => order.push('small'));
    window.leave(2 * MIB);
    await Promise.all([large, small]);
    expect(order).toEqual(['large', 'small']);
  });
});
