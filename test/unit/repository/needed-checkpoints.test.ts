import { describe, expect, it } from 'vitest';
import type { ManifestInput, Point } from '#nbdelta/repository/manifest.js';
import { baseCheckpoints, neededCheckpoints } from '#nbdelta/repository/needed-checkpoints.js';
import { sampleDisk, sampleManifest, samplePoint } from './sample-manifest.js';

type Level = ManifestInput['level'];

/** A chain: each delta on the point before, unless it names its parent by index. */
function chain(
  ...links: readonly {
    level: Level;
    checkpoint?: string | null;
    on?: number;
    rescan?: boolean;
  }[]
): Point[] {
  const points: Point[] = [];
  for (const [index, { level, checkpoint = `c${index}`, on, rescan }] of links.entries()) {
    const isBase = level === 'full' || level === 'copy';
    const parent = isBase ? undefined : points[on ?? index - 1];
    points.push(
      samplePoint(
        sampleManifest(index + 1, {
          level,
          checkpoint,
          parent: parent === undefined ? null : { id: parent.manifest.id, manifestSha256: parent.sha256 },
          disks: [sampleDisk('vda', level, rescan ? { method: 'rescan' } : {})],
          since: { kind: isBase ? 'none' : 'asserted', label: null, point: null },
        }),
      ),
    );
  }
  return points;
}

const names = (list: readonly { readonly checkpoint: string }[]) => list.map(({ checkpoint }) => checkpoint);

describe('checkpoints that the next point may be taken since', () => {
  it('are none without points', () => {
    expect(baseCheckpoints([], 'incremental')).toEqual([]);
    expect(neededCheckpoints([])).toEqual([]);
  });

  it('are those of the chain, newest first', () => {
    const points = chain({ level: 'full' }, { level: 'incremental' }, { level: 'incremental' });
    expect(names(baseCheckpoints(points, 'incremental'))).toEqual(['c2', 'c1', 'c0']);
    expect(names(baseCheckpoints(points, 'differential'))).toEqual(['c0']);
  });

  it('reach back over a point that was taken while the guest was off', () => {
    const points = chain({ level: 'full' }, { level: 'incremental', checkpoint: null });
    expect(names(baseCheckpoints(points, 'incremental'))).toEqual(['c0']);
    expect(names(neededCheckpoints(points))).toEqual(['c0']);
  });

  it('are not those of an older chain, nor of a copy', () => {
    const points = chain(
      { level: 'full' },
      { level: 'incremental' },
      { level: 'full' },
      { level: 'copy' },
      { level: 'incremental', on: 2 },
    );
    expect(names(baseCheckpoints(points, 'incremental'))).toEqual(['c4', 'c2']);
  });
});

describe('checkpoints that must stay', () => {
  it("are the newest point's, and the newest full's for a differential", () => {
    const points = chain({ level: 'full' }, { level: 'incremental' }, { level: 'incremental' });
    expect(names(neededCheckpoints(points))).toEqual(['c2', 'c0']);
  });

  it('are one when the newest point is a full', () => {
    expect(names(neededCheckpoints(chain({ level: 'full' }, { level: 'full' })))).toEqual(['c1']);
  });

  it('are none from before a rescan of all disks: what spoke against those bitmaps still does', () => {
    const points = chain(
      { level: 'full' },
      { level: 'incremental' },
      { level: 'incremental', rescan: true },
      { level: 'incremental' },
    );
    expect(names(baseCheckpoints(points, 'incremental'))).toEqual(['c3', 'c2']);
    expect(names(baseCheckpoints(points, 'differential'))).toEqual([]);
    expect(names(neededCheckpoints(points))).toEqual(['c3']);
  });

  it('are still those of a chain when another one began with a full', () => {
    const points = chain({ level: 'full' }, { level: 'full' }, { level: 'incremental', on: 0 });
    expect(names(baseCheckpoints(points, 'incremental'))).toEqual(['c2', 'c0']);
  });
});
