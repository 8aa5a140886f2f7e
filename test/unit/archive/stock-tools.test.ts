import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { ArchiveSummary } from '#nbdelta/archive/v1/archive-writer.js';
import type { MemoryVolumes } from './memory-volumes.js';
import { expectedAfter, randomDisk } from './random-disk.js';
import { writeArchive } from './tiny-archive.js';

/** A missing tool is a visible skip, never a pass. */
const missing = ['tar', 'zstd', 'python3'].filter(tool => spawnSync(tool, ['--version']).status !== 0);
const RESTORE = fileURLToPath(new URL('../../../fixtures/restore-v1.py', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nbdelta-archive-'));
afterAll(() => rmSync(folder, { recursive: true }));

function saveVolumes(point: string, volumes: MemoryVolumes): { name: string; bytes: number }[] {
  mkdirSync(point, { recursive: true });
  return volumes.files.map((file, at) => {
    const name = `vda.${String(at + 1).padStart(4, '0')}.tar`;
    writeFileSync(join(point, name), file);
    return { name, bytes: file.length };
  });
}

describe.skipIf(missing.length > 0)(
  `archives and stock tools${missing.length > 0 ? ` (no ${missing})` : ''}`,
  () => {
    test('GNU tar lists and extracts, zstd tests every pack, sha256sum agrees', async () => {
      const disk = Buffer.alloc(200_000, 'some text, ');
      const steps = Array.from({ length: 40 }, (_, at) => ({
        kind: 'frame' as const,
        pieces: [{ offset: at * 5000, length: 4000 }],
      }));
      const { volumes, summary } = await writeArchive(disk, steps, { maxVolumeBytes: 8192 });
      const point = join(folder, 'tools');
      const names = saveVolumes(point, volumes).map(({ name }) => join(point, name));
      expect(names.length).toBeGreaterThan(1);
      const out = Buffer.concat(names.flatMap(name => packsOf(name)));
      const raw = Buffer.concat(
        steps.map(({ pieces: [piece] }) => disk.subarray(piece!.offset, piece!.offset + 4000)),
      );
      expect(out.equals(raw)).toBe(true);
      const index = execFileSync('tar', ['xOf', names.at(-1)!, 'index.zst']);
      expect(createHash('sha256').update(index).digest('hex')).toBe(summary.index.sha256);
      expect(execFileSync('zstd', ['-dc'], { input: index })).toHaveLength(summary.index.rawLength);
      expect(execFileSync('tar', ['tvf', names[0]!, '--utc'], { encoding: 'utf8' })).toMatch(
        /^-rw-r--r-- 0\/0 +\d+ 1970-01-01 00:00 header\.json\n/,
      );
    });

    test('the independent reader restores what was written', async () => {
      let run = 0;
      await fc.assert(
        fc.asyncProperty(randomDisk, randomDisk, async (full, increment) => {
          const repository = join(folder, `run-${run++}`);
          const first = await writeArchive(full.disk, full.steps, { maxVolumeBytes: 20_000 });
          const second = await writeArchive(increment.disk, increment.steps, {
            archiveId: 'e'.repeat(32),
            parentArchiveId: first.summary.archiveId,
          });
          const parent = savePoint(repository, 'p1', null, full.disk.length, first);
          savePoint(repository, 'p2', parent, increment.disk.length, second);
          const out = join(repository, 'out.raw');
          execFileSync('python3', [RESTORE, repository, 'web1', 'p2', 'vda', out]);
          const expected = Buffer.alloc(increment.disk.length);
          const zeroed = Buffer.alloc(full.disk.length);
          expectedAfter({ ...full, steps: full.steps }).copy(zeroed);
          maskUnmentioned(full.steps, zeroed);
          zeroed.copy(expected);
          const newest = expectedAfter(increment);
          forMentioned(increment.steps, (start, end) => newest.copy(expected, start, start, end));
          const digest = execFileSync('sha256sum', [out], { encoding: 'utf8' }).split(' ')[0];
          expect(digest).toBe(createHash('sha256').update(expected).digest('hex'));
        }),
        { numRuns: 8 },
      );
    }, 60_000);
  },
);

/** Raw content of every pack of a volume, after `zstd -t`. */
function packsOf(tar: string): Buffer[] {
  const members = execFileSync('tar', ['tf', tar], { encoding: 'utf8' }).trim().split('\n');
  expect(members[0]).toBe('header.json');
  expect(members.at(-1)).toBe('trailer.json');
  return members
    .filter(name => name.startsWith('data/'))
    .map(name => {
      const pack = execFileSync('tar', ['xOf', tar, name]);
      execFileSync('zstd', ['-tq'], { input: pack });
      return execFileSync('zstd', ['-dc'], { input: pack });
    });
}

function forMentioned(
  steps: Parameters<typeof expectedAfter>[0]['steps'],
  visit: (start: number, end: number) => void,
) {
  for (const step of steps) {
    const ranges = step.kind === 'zero' ? [step] : step.pieces;
    for (const { offset, length } of ranges) visit(offset, offset + length);
  }
}

/** What no step mentions reads as zero after a full. */
function maskUnmentioned(steps: Parameters<typeof expectedAfter>[0]['steps'], disk: Buffer): void {
  let end = 0;
  forMentioned(steps, (start, next) => {
    disk.fill(0, end, start);
    end = next;
  });
  disk.fill(0, end);
}

interface Written {
  readonly volumes: MemoryVolumes;
  readonly summary: ArchiveSummary;
}

/** Writes a point as far as a reader of disks needs it; returns what a child says of it. */
function savePoint(
  repository: string,
  id: string,
  parent: { id: string; manifestSha256: string } | null,
  size: number,
  { volumes, summary }: Written,
) {
  const point = join(repository, 'web1', id);
  const archive = {
    archiveId: summary.archiveId,
    parentArchiveId: parent === null ? null : ARCHIVE_OF_FULL,
    volumes: saveVolumes(point, volumes),
    index: summary.index,
    frames: summary.frames,
    extents: summary.extents,
  };
  const disks = [
    { name: 'vda', size, level: parent === null ? 'full' : 'incremental', status: 'stored', archive },
  ];
  const manifest = JSON.stringify({ format: 'nbdelta-point', version: 1, features: [], parent, disks });
  const manifestSha256 = createHash('sha256').update(manifest).digest('hex');
  writeFileSync(join(point, 'manifest.json'), manifest);
  writeFileSync(join(point, 'manifest.sha256'), `${manifestSha256}  manifest.json\n`);
  return { id, manifestSha256 };
}

const ARCHIVE_OF_FULL = '00112233445566778899aabbccddeeff';
