import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planFrames } from '#nbdelta/changes/plan-frames.js';
import { ExtentKind, ExtentList } from '#nbdelta/extents/extent-list.js';

const { data, zero } = ExtentKind;

function listOf(
  ...extents: readonly (readonly [offset: number, length: number, kind: ExtentKind])[]
): ExtentList {
  const list = new ExtentList();
  for (const [offset, length, kind] of extents) list.append(offset, length, kind);
  return list;
}

function plan(list: ExtentList, frameSize: number): string[] {
  return [...planFrames(list, frameSize)].map(({ extents, rawLength }) => {
    const parts = extents.map(({ offset, length, zero }) => `${zero ? 'z' : ''}${offset}+${length}`);
    return `${rawLength}: ${parts.join(' ')}`;
  });
}

describe('planFrames', () => {
  it('plans nothing for no change', () => {
    expect(plan(listOf(), 1024)).toEqual([]);
  });

  it('cuts a large extent at multiples of the frame size on the disk', () => {
    expect(plan(listOf([1000, 3000, data]), 1024)).toEqual([
      '24: 1000+24',
      '1024: 1024+1024',
      '1024: 2048+1024',
      '928: 3072+928',
    ]);
  });

  it('lets small extents and zeroes share a frame', () => {
    expect(
      plan(listOf([0, 100, data], [200, 100, data], [300, 5000, zero], [6000, 824, data]), 1024),
    ).toEqual(['1024: 0+100 200+100 z300+5000 6000+144 6144+680']);
  });

  it('does not cut zeroes', () => {
    expect(plan(listOf([0, 2 ** 40, zero]), 1024)).toEqual([`0: z0+${2 ** 40}`]);
  });

  it('has at most 4096 extents in a frame', () => {
    const list = listOf(
      ...Array.from({ length: 10_000 }, (_, index) => [3 * index, 1, index % 2 ? zero : data] as const),
    );
    const plans = [...planFrames(list, 1 << 20)];
    expect(plans.map(({ extents }) => extents.length)).toEqual([4096, 4096, 1808]);
    expect(plans.map(({ rawLength }) => rawLength)).toEqual([2048, 2048, 904]);
  });

  it('is lazy', () => {
    const plans = planFrames(listOf([0, 2 ** 50, data]), 1 << 20);
    expect(plans.next().value?.extents).toEqual([{ offset: 0, length: 1 << 20, zero: false }]);
  });

  it('covers the map exactly, in order, within the frame size', () => {
    const extent = fc.tuple(fc.nat(500), fc.integer({ min: 1, max: 5_000 }), fc.constantFrom(data, zero));
    const property = fc.property(
      fc.array(extent, { maxLength: 60 }),
      fc.constantFrom(1, 7, 512, 1000, 4096),
      (parts, frameSize) => {
        let at = 0;
        const list = new ExtentList();
        for (const [gap, length, kind] of parts) {
          list.append(at + gap, length, kind);
          at += gap + length;
        }
        const rebuilt = new ExtentList();
        for (const { extents, rawLength } of planFrames(list, frameSize)) {
          expect(rawLength).toBeLessThanOrEqual(frameSize);
          expect(extents.length).toBeGreaterThan(0);
          const read = extents.filter(part => !part.zero);
          expect(read.reduce((sum, part) => sum + part.length, 0)).toBe(rawLength);
          for (const { offset, length, zero: isZero } of extents) {
            if (!isZero)
              expect(Math.floor(offset / frameSize)).toBe(Math.floor((offset + length - 1) / frameSize));
            rebuilt.append(offset, length, isZero ? zero : data);
          }
        }
        expect([...rebuilt]).toEqual([...list]);
      },
    );
    fc.assert(property);
  });
});
