import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NbdeltaError } from '#nbdelta/errors.js';
import { ancestryOf, openChain } from '#nbdelta/repository/chain.js';
import type { Point } from '#nbdelta/repository/manifest.js';
import { latestPoint, nextSequence, sortPoints } from '#nbdelta/repository/point-order.js';
import {
  chainPoint,
  failedDisk,
  sampleArchiveId,
  sampleDisk,
  sampleId,
  sampleManifest,
  samplePoint,
} from './sample-manifest.js';

/** full ← 2 ← 3 … of `length` points. */
function straightChain(length: number): Point[] {
  const points: Point[] = [];
  for (let number = 1; number <= length; number++) points.push(chainPoint(number, points.at(-1) ?? null));
  return points;
}

function linkIds(points: readonly Point[], number: number, disk = 'vda'): string[] {
  return openChain(points, sampleId(number), disk).map(link => link.disk.archive.archiveId);
}

function failing(code: string, ...parts: string[]) {
  return expect.objectContaining({
    code,
    hint: expect.any(String),
    message: expect.stringMatching(new RegExp(parts.join('.*'))),
  });
}

describe('openChain', () => {
  it('goes from the full to the wanted point, whatever the order of the points', () => {
    const points = straightChain(4);
    expect(linkIds(points, 3)).toEqual(['vda-1', 'vda-2', 'vda-3'].map(sampleArchiveId));
    expect(linkIds(points.toReversed(), 3)).toEqual(['vda-1', 'vda-2', 'vda-3'].map(sampleArchiveId));
    expect(linkIds(points, 1)).toEqual(['vda-1'].map(sampleArchiveId));
  });

  it('a differential goes straight to its full; a copy stands alone', () => {
    const [full, second] = straightChain(2);
    const differential = chainPoint(3, full!, { level: 'differential' });
    const copy = chainPoint(4, null, { level: 'copy' });
    const points = [full!, second!, differential, copy, chainPoint(5, differential)];
    expect(linkIds(points, 3)).toEqual(['vda-1', 'vda-3'].map(sampleArchiveId));
    expect(linkIds(points, 5)).toEqual(['vda-1', 'vda-3', 'vda-5'].map(sampleArchiveId));
    expect(linkIds(points, 4)).toEqual(['vda-4'].map(sampleArchiveId));
  });

  it('a disk that came later ends at its own full, and needs nothing before it', () => {
    const [full, second] = straightChain(2);
    const third = chainPoint(3, second!, { disks: ['vda', 'vdb'] });
    const fourth = chainPoint(4, third, { disks: ['vda', 'vdb'] });
    expect(linkIds([full!, second!, third, fourth], 4, 'vdb')).toEqual(
      ['vdb-3', 'vdb-4'].map(sampleArchiveId),
    );
    expect(linkIds([third, fourth], 4, 'vdb')).toEqual(['vdb-3', 'vdb-4'].map(sampleArchiveId));
  });

  it('CHAIN_MISSING names the missing point and the one that needs it', () => {
    const [full, , third] = straightChain(3);
    const error = failing('CHAIN_MISSING', `${sampleId(2)} is missing`, `${sampleId(3)} builds on it`);
    expect(() => linkIds([full!, third!], 3)).toThrow(error);
  });

  it('CHAIN_FOREIGN when the parent has another manifest or archive', () => {
    const [full, second] = straightChain(2);
    expect(() => linkIds([{ ...full!, sha256: '0'.repeat(64) }, second!], 2)).toThrow(
      failing('CHAIN_FOREIGN', sampleId(1), sampleId(2), `SHA-256 ${'0'.repeat(64)}`, full!.sha256),
    );
    const disk = sampleDisk('vda', 'incremental');
    const parent = { id: full!.manifest.id, manifestSha256: full!.sha256 };
    const foreign = samplePoint(sampleManifest(2, { level: 'incremental', parent, disks: [disk] }));
    expect(() => linkIds([full!, foreign], 2)).toThrow(
      failing('CHAIN_FOREIGN', sampleArchiveId('archive-0'), sampleArchiveId('vda-1')),
    );
  });

  it('CHAIN_ORDER for a circle and for a parent of a higher sequence', () => {
    const [full, second] = straightChain(2);
    const late = { ...full!, manifest: { ...full!.manifest, sequence: 9 } };
    expect(() => linkIds([late, second!], 2)).toThrow(failing('CHAIN_ORDER', 'sequence 2', 'has 9'));
    const circle = chainPoint(3, second!);
    const parent = { id: circle.manifest.id, manifestSha256: circle.sha256 };
    const bent = { ...second!, manifest: { ...second!.manifest, parent } };
    expect(() => linkIds([full!, bent, { ...circle, manifest: { ...circle.manifest } }], 2)).toThrow(
      failing('CHAIN_ORDER'),
    );
    expect(() => ancestryOf([full!, bent, circle], bent)).toThrow(failing('CHAIN_ORDER'));
  });

  it('DISK_UNKNOWN lists the disks, or says why the disk failed', () => {
    const full = samplePoint(
      sampleManifest(1, { partial: true, disks: [sampleDisk('vda', 'full'), failedDisk('vdb', 'full')] }),
    );
    const listing = expect.objectContaining({ code: 'DISK_UNKNOWN', hint: 'It has: vda, vdb.' });
    expect(() => linkIds([full], 1, 'vdc')).toThrow(listing);
    expect(() => linkIds([full], 1, 'vdb')).toThrow(
      failing('DISK_UNKNOWN', 'no answer for 60 s', 'NBD_TIMEOUT'),
    );
    expect(() => linkIds([full], 7)).toThrow(failing('POINT_UNKNOWN', sampleId(7)));
  });

  it('CHAIN_ORDER when a disk builds on a point that failed to store it or has no such disk', () => {
    const full = samplePoint(sampleManifest(1, { partial: true, disks: [failedDisk('vda', 'full')] }));
    const parent = { id: full.manifest.id, manifestSha256: full.sha256 };
    const disks = [sampleDisk('vda', 'incremental')];
    const second = samplePoint(sampleManifest(2, { level: 'incremental', parent, disks }));
    expect(() => linkIds([full, second], 2)).toThrow(failing('CHAIN_ORDER', 'vda', 'failed to store it'));
  });

  it('of any tree of points every chain is closed, ordered and begins with a full', () => {
    fc.assert(
      fc.property(
        fc.array(fc.option(fc.nat()), { minLength: 1, maxLength: 20 }),
        fc.nat(),
        (choices, cut) => {
          const points: Point[] = [];
          for (const choice of choices) {
            const parent = choice === null ? null : (points[choice % (points.length || 1)] ?? null);
            points.push(chainPoint(points.length + 1, parent));
          }
          for (const point of points) {
            const links = openChain(points, point.manifest.id, 'vda');
            expect(links[0]!.disk.level).toBe('full');
            expect(links.at(-1)!.point).toBe(point.manifest);
            links.slice(1).forEach((link, index) => {
              expect(link.point.parent!.id).toBe(links[index]!.point.id);
            });
            expect(links.map(link => link.point)).toEqual(
              ancestryOf(points, point)
                .map(each => each.manifest)
                .reverse(),
            );
          }
          // Without one point every chain is whole as before, or refused; never a shorter one.
          const gone = points[cut % points.length]!;
          const rest = points.filter(point => point !== gone);
          for (const point of rest) {
            const before = openChain(points, point.manifest.id, 'vda');
            if (before.some(link => link.point === gone.manifest)) {
              expect(() => openChain(rest, point.manifest.id, 'vda')).toThrow(NbdeltaError);
            } else {
              expect(openChain(rest, point.manifest.id, 'vda')).toEqual(before);
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('order', () => {
  it('is by sequence, whatever the clock said; a copy is never the latest', () => {
    const full = chainPoint(1, null, { change: { created: '2030-01-01T00:00:00Z' } });
    const second = chainPoint(2, full, { change: { created: '2020-01-01T00:00:00Z' } });
    const copy = chainPoint(3, null, { level: 'copy' });
    const points = [copy, second, full];
    expect(sortPoints(points)).toEqual([full, second, copy]);
    expect(latestPoint(points)).toBe(second);
    expect(nextSequence(points)).toBe(4);
    expect([latestPoint([]), nextSequence([])]).toEqual([undefined, 1]);
  });

  it('a merged point stands where the newest one stood that it replaces, after it', () => {
    const [full, second, third] = straightChain(3);
    const replaces = [full!.manifest.id, second!.manifest.id];
    const merged = chainPoint(4, null, { change: { sequence: 2, replaces } });
    expect(sortPoints([merged, third!, second!, full!])).toEqual([full, second, merged, third]);
    expect(latestPoint([merged, second!])).toBe(merged);
  });
});
