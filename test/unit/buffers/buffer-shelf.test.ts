import { describe, expect, it } from 'vitest';
import { BufferShelf } from '#nbdelta/buffers/buffer-shelf.js';

const SIZE = 65_536;

describe('the shelf of buffers', () => {
  it('hands a buffer out again, to one at a time, when it is large enough', () => {
    const shelf = new BufferShelf(4 * SIZE);
    const [one, two] = [shelf.take(100_000), shelf.take(100_000)];
    expect(one.byteLength).toBe(131_072);
    shelf.give(one);
    shelf.give(two);
    expect(new Set([shelf.take(131_072), shelf.take(70_000)])).toEqual(new Set([one, two]));
    expect(shelf.take(131_072)).not.toBe(one);
  });

  it('keeps no more than it may, and nothing that left for another thread', () => {
    const shelf = new BufferShelf(SIZE);
    const [one, two] = [shelf.take(SIZE), shelf.take(SIZE)];
    shelf.give(one);
    shelf.give(two);
    expect(shelf.take(SIZE)).toBe(one);
    expect(shelf.take(SIZE)).not.toBe(two);
    structuredClone(two, { transfer: [two] });
    shelf.give(two);
    expect(shelf.take(SIZE).byteLength).toBe(SIZE);
  });

  it('makes room for what comes back now: buffers of other sizes go', () => {
    const shelf = new BufferShelf(4 * SIZE);
    const small = Array.from({ length: 4 }, () => shelf.take(SIZE));
    for (const buffer of small) shelf.give(buffer);
    const large = shelf.take(2 * SIZE);
    shelf.give(large);
    expect(shelf.take(2 * SIZE)).toBe(large);
    expect(small).not.toContain(shelf.take(SIZE));
  });

  it('keeps nothing that is larger than all it may keep', () => {
    const shelf = new BufferShelf(SIZE);
    const large = shelf.take(4 * SIZE);
    shelf.give(large);
    expect(shelf.take(4 * SIZE)).not.toBe(large);
  });
});
