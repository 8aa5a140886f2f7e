import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BufferShelf } from '#nbdelta/buffers/buffer-shelf.js';
import { FrameCache } from '#nbdelta/chain/frame-cache.js';

const SIZE = 65_536;

/** Fills each frame with its number; a load ends when it is let. */
class Loads {
  readonly begun: number[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly failing = new Set<number>();

  rawLength(): number {
    return SIZE;
  }

  async load(_archive: number, frame: number, raw: ArrayBuffer): Promise<ArrayBuffer> {
    this.begun.push(frame);
    const moved = structuredClone(raw, { transfer: [raw] });
    await new Promise<void>(resolve => this.#waiting.push(resolve));
    if (this.failing.has(frame)) throw new Error(`frame ${frame} is damaged`);
    new Uint8Array(moved).fill(frame);
    return moved;
  }

  /** Ends the oldest load, or the newest. */
  async end(newest = false): Promise<void> {
    (newest ? this.#waiting.pop() : this.#waiting.shift())?.();
    await new Promise(resolve => setImmediate(resolve));
  }

  async endAll(): Promise<void> {
    while (this.#waiting.length > 0) await this.end();
  }
}

function isFrame(content: Uint8Array, frame: number): boolean {
  return content.length === SIZE && content.every(byte => byte === frame);
}

describe('the cache of decoded frames', () => {
  it('loads a frame once for all who want it, and again after it had to go', async () => {
    const loads = new Loads();
    const cache = new FrameCache(loads, new BufferShelf(4 * SIZE), 2 * SIZE);
    const first = cache.hold(0, 1);
    const second = cache.hold(0, 1);
    await loads.endAll();
    expect(await first.content).toBe(await second.content);
    for (const frame of [2, 3]) cache.hold(0, frame)[Symbol.dispose]();
    await loads.endAll();
    cache.hold(0, 2)[Symbol.dispose]();
    cache.hold(0, 1)[Symbol.dispose]();
    await loads.endAll();
    expect(loads.begun).toEqual([1, 2, 3, 1]);
  });

  it('tells frames of different archives apart', async () => {
    const loads = new Loads();
    const cache = new FrameCache(loads, new BufferShelf(4 * SIZE), 4 * SIZE);
    const held = [cache.hold(0, 7), cache.hold(1, 7)];
    await loads.endAll();
    expect(await held[0]!.content).not.toBe(await held[1]!.content);
  });

  it('does not keep a frame that failed', async () => {
    const loads = new Loads();
    loads.failing.add(1);
    const cache = new FrameCache(loads, new BufferShelf(4 * SIZE), 4 * SIZE);
    const failed = cache.hold(0, 1);
    const error = expect(failed.content).rejects.toThrow('frame 1 is damaged');
    await loads.endAll();
    await error;
    failed[Symbol.dispose]();
    loads.failing.clear();
    const mended = cache.hold(0, 1);
    await loads.endAll();
    expect(isFrame(await mended.content, 1)).toBe(true);
  });

  it('never gives a buffer away under who holds it, whatever comes when', async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('hold' as const), frame: fc.integer({ min: 1, max: 6 }) }),
      fc.record({ kind: fc.constant('ahead' as const), frame: fc.integer({ min: 1, max: 6 }) }),
      fc.record({ kind: fc.constant('release' as const), which: fc.nat() }),
      fc.record({ kind: fc.constant('end' as const), newest: fc.boolean() }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.integer({ min: 1, max: 3 }),
        async (steps, room) => {
          const loads = new Loads();
          const cache = new FrameCache(loads, new BufferShelf(2 * SIZE), room * SIZE);
          const holding: { frame: number; held: ReturnType<FrameCache['hold']> }[] = [];
          for (const each of steps) {
            if (each.kind === 'hold') holding.push({ frame: each.frame, held: cache.hold(0, each.frame) });
            if (each.kind === 'ahead') cache.hold(0, each.frame)[Symbol.dispose]();
            if (each.kind === 'release') {
              for (const { held } of holding.splice(each.which % (holding.length + 1), 1)) {
                held[Symbol.dispose]();
                held[Symbol.dispose]();
              }
            }
            if (each.kind === 'end') await loads.end(each.newest);
          }
          await loads.endAll();
          for (const { frame, held } of holding) expect(isFrame(await held.content, frame)).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });
});
