/** Any history of a disk: every point reads as the disk was, by restore, by random access and over NBD. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { connect, type Manifest, openChain, serve, verify } from '#nbdelta/index.js';
import { SeededRandom } from '../../support/random.js';
import { expectSameBytes, restoreBytes } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, socketPath, TrackedGuest } from '../../support/tracked-guest.js';

const LARGEST = 500_000;

type Level = 'auto' | 'full' | 'incremental' | 'differential' | 'copy';

/** Places and lengths as shares of the disk, so that they stay right when it is resized. */
type Step =
  | { readonly kind: 'write' | 'zero'; readonly at: number; readonly share: number; readonly seed: number }
  | { readonly kind: 'resize'; readonly size: number }
  | { readonly kind: 'backup'; readonly level: Level; readonly codec: string; readonly rescan: boolean };

const share = fc.integer({ min: 0, max: 1000 }).map(value => value / 1000);
const seed = fc.integer({ min: 0, max: 2 ** 31 });
const size = fc.oneof(
  fc.constantFrom(1, 511, 512, 65_535, 65_536, 65_537, 131_072, 262_144),
  fc.integer({ min: 1, max: LARGEST }),
);
const level = fc.constantFrom<Level>(
  'auto',
  'auto',
  'incremental',
  'incremental',
  'differential',
  'full',
  'copy',
);
const codec = fc.constantFrom('none', 'zstd:1', 'zstd:7', 'zstd:19');
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('write', 'zero'), at: share, share, seed }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('resize' as const), size }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('backup' as const), level, codec, rescan: fc.boolean() }),
  },
);

interface Kept {
  readonly point: Manifest;
  readonly content: Buffer;
}

async function play(folder: TempFolder, first: number, steps: readonly Step[]): Promise<Kept[]> {
  const guest = new TrackedGuest(first);
  const kept: Kept[] = [];
  const keep = async (options: {
    readonly level: Level;
    readonly codec?: string;
    readonly rescan?: boolean;
  }) => {
    const content = Buffer.from(guest.content);
    const { point } = await backUpGuests(
      folder,
      { vda: guest },
      { ...options, frameSize: 65_536, threads: 1 },
    );
    kept.push({ point, content });
  };
  await keep({ level: 'full' });
  for (const next of steps) {
    if (next.kind === 'backup') {
      const { level, codec, rescan } = next;
      await keep({ level, codec, rescan: rescan && (level === 'auto' || level === 'incremental') });
    } else if (next.kind === 'resize') guest.resize(next.size);
    else {
      const offset = Math.min(guest.size - 1, Math.floor(next.at * guest.size));
      // Cubed: most changes are small, some are nearly the whole disk.
      const length = Math.max(1, Math.floor(next.share ** 3 * (guest.size - offset)));
      if (next.kind === 'zero') guest.zero(offset, length);
      else guest.write(offset, noise(next.seed, length));
    }
  }
  await keep({ level: 'auto' });
  return kept;
}

/** Data with runs of zeroes and repetitions in it, as disks have. */
function noise(from: number, length: number): Buffer {
  const random = new SeededRandom(from);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 5000) {
    const kind = random.below(3);
    if (kind === 1) bytes.fill(1 + random.below(255), at, Math.min(length, at + 5000));
    if (kind === 2) random.bytes(Math.min(5000, length - at)).copy(bytes, at);
  }
  return bytes;
}

function* ranges(random: SeededRandom, bytes: number): Generator<readonly [offset: number, length: number]> {
  yield [0, bytes];
  for (let count = 0; count < 6; count++) {
    const offset = random.below(bytes);
    yield [offset, 1 + random.below(Math.min(100_000, bytes - offset))];
  }
}

async function checkAccess(
  folder: TempFolder,
  { point, content }: Kept,
  random: SeededRandom,
): Promise<void> {
  const where = {
    repository: folder.file('repo'),
    point: `guest@${point.id}`,
    threads: 1,
    cacheBytes: 100_000,
  };
  await using chain = await openChain({ ...where, disk: 'vda' });
  await using served = await serve({ ...where, listen: { kind: 'unix', path: socketPath(folder) } });
  await using client = await connect(served.disks[0]!.uri);
  expect([chain.size, client.size]).toEqual([content.length, content.length]);
  for (const [offset, length] of ranges(random, content.length)) {
    const expected = content.subarray(offset, offset + length);
    expectSameBytes(await chain.read(offset, length), expected, `${point.id} ${offset}+${length}, read`);
    expectSameBytes(await client.read(offset, length), expected, `${point.id} ${offset}+${length}, served`);
  }
  for await (const extent of client.changes()) {
    const { offset, length } = extent;
    const data = extent.kind === 'data' ? extent.data : Buffer.alloc(length);
    expectSameBytes(
      data,
      content.subarray(offset, offset + length),
      `${point.id} extent ${offset}+${length}`,
    );
  }
}

it('any sequence of writes, zeroes, resizes and backups of any level', async () => {
  await fc.assert(
    fc.asyncProperty(
      size,
      fc.array(step, { minLength: 3, maxLength: 18 }),
      seed,
      async (first, steps, picks) => {
        await using folder = await tempFolder();
        const kept = await play(folder, first, steps);
        const random = new SeededRandom(picks);
        for (const each of kept) {
          const spec = `guest@${each.point.id}`;
          expectSameBytes(await restoreBytes(folder.file('repo'), spec), each.content, spec);
          await checkAccess(folder, each, random);
        }
        expect(await verify({ repository: folder.file('repo'), threads: 1 })).toMatchObject({ ok: true });
      },
    ),
    { numRuns: 15, endOnFailure: true },
  );
}, 120_000);
