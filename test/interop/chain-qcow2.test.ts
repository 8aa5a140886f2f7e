/** Chains of a qcow2 disk with one persistent bitmap a step, through qemu-nbd: every point, every way back. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BackupOptions, backup, type Manifest, openChain, verify } from '#nbdelta/index.js';
import { describeWith } from '../support/peers.js';
import { Qcow2Guest } from '../support/qcow2-guest.js';
import {
  checkRestores,
  codeOf,
  expectSameBytes,
  fileDigests,
  restoreBytes,
  restoreIndependently,
  restoreStream,
} from '../support/restore-check.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const KIB = 1024;
const MIB = KIB * KIB;
const STEPS = 5;

interface KeptPoint {
  readonly point: Manifest;
  readonly content: Buffer;
}

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

async function backUp(
  guest: Qcow2Guest,
  machine: string,
  options: Partial<BackupOptions> & { readonly bitmap?: string } = {},
): Promise<KeptPoint> {
  const { bitmap, ...rest } = options;
  const content = guest.content;
  const { point } = await guest.served(bitmap === undefined ? [] : [bitmap], uri =>
    backup({
      repository: folder.file('repo'),
      machine,
      disks: [{ name: 'vda', uri, ...(bitmap !== undefined && { bitmap }) }],
      ...rest,
    }),
  );
  return { point, content };
}

/** A full and five incrementals; before each, the guest writes, zeroes and discards at odd places. */
async function takeChain(machine: string, size: number, seed: number, granularity: number) {
  const guest = await Qcow2Guest.create(folder, { name: machine, size, seed });
  await guest.runRandom(12);
  const kept = [await backUp(guest, machine, { level: 'full', checkpoint: 'cp0' })];
  for (let step = 1; step <= STEPS; step++) {
    await guest.addBitmap(`cp${step - 1}`, granularity);
    await guest.runRandom(8);
    const since = [`cp${step - 1}`, kept.at(-1)!.point.id, 'latest'][step % 3]!;
    kept.push(
      await backUp(guest, machine, {
        level: 'incremental',
        bitmap: `cp${step - 1}`,
        since,
        checkpoint: `cp${step}`,
        codec: step % 2 === 0 ? 'none' : 'zstd:3',
        frameSize: step === 3 ? 64 * KIB : MIB,
      }),
    );
  }
  return { guest, kept };
}

describeWith(['qemu-nbd', 'qemu-io', 'qemu-img', 'python3', 'zstd', 'tar'], 'a chain of a qcow2 disk', () => {
  describe.each([
    { machine: 'aligned', size: 6 * MIB, seed: 11, granularity: 64 * KIB },
    { machine: 'odd', size: 5 * MIB + 3 * 512, seed: 12, granularity: 64 * KIB },
    { machine: 'fine', size: 3 * MIB + 4096 + 512, seed: 13, granularity: 512 },
    { machine: 'small', size: 1536, seed: 14, granularity: 512 },
  ])('$machine: $size bytes, bitmaps of $granularity bytes', ({ machine, size, seed, granularity }) => {
    let guest: Qcow2Guest;
    let kept: KeptPoint[];
    const repository = () => folder.file('repo');
    beforeAll(async () => {
      ({ guest, kept } = await takeChain(machine, size, seed, granularity));
    });

    it('keeps what its levels say', () => {
      expect(kept.map(({ point }) => point.level)).toEqual(['full', ...Array(STEPS).fill('incremental')]);
      expect(kept.map(({ point }) => point.parent?.id)).toEqual([
        undefined,
        ...kept.slice(0, -1).map(({ point }) => point.id),
      ]);
      expect(kept.slice(1).map(({ point }) => point.since.point)).toEqual(
        kept.slice(0, -1).map(({ point }) => point.id),
      );
    });

    it('restores every point bit for bit, to raw and to qcow2', async () => {
      for (const { point, content } of kept)
        await checkRestores(repository(), `${machine}@${point.id}`, content);
    });

    it('streams every point, and reads it at any place', async () => {
      for (const { point, content } of kept) {
        const spec = `${machine}@${point.id}`;
        expectSameBytes(await restoreStream(repository(), spec), content, `${spec} as a stream`);
        await using chain = await openChain({ repository: repository(), point: spec, disk: 'vda' });
        expect(chain.size).toBe(size);
        for (const [from, until] of [
          [0, 1],
          [size - 1, size],
          [size >> 1, size],
          [513, 1400],
        ] as const) {
          const bytes = await chain.read(from, until - from);
          expectSameBytes(bytes, content.subarray(from, until), `${spec}, ${from} to ${until}`);
        }
        for (const { offset, length } of chain.zeroRanges()) {
          expectSameBytes(
            content.subarray(offset, offset + length),
            Buffer.alloc(length),
            `zeroes of ${spec}`,
          );
        }
      }
    });

    it('is restored by the independent script', async () => {
      for (const { point, content } of kept) {
        const spec = `${machine}@${point.id}`;
        expectSameBytes(await restoreIndependently(repository(), spec), content, `${spec} by the script`);
      }
    });

    it('verifies', async () => {
      expect(await verify({ repository: repository(), point: machine })).toMatchObject({
        ok: true,
        points: STEPS + 1,
        archives: STEPS + 1,
        problems: [],
      });
    });

    it('takes a differential on the full with a bitmap as old as the full', async () => {
      const differential = await backUp(guest, machine, {
        level: 'differential',
        bitmap: 'cp0',
        since: 'cp0',
      });
      expect(differential.point).toMatchObject({ level: 'differential', parent: { id: kept[0]!.point.id } });
      await checkRestores(repository(), `${machine}@${differential.point.id}`, differential.content);
    });

    it('takes a copy beside the chain', async () => {
      const copy = await backUp(guest, machine, { level: 'copy' });
      expect(copy.point).toMatchObject({ level: 'copy', parent: null });
      await checkRestores(repository(), `${machine}@${copy.point.id}`, copy.content);
    });
  });
});

describeWith(['qemu-nbd', 'qemu-io', 'qemu-img'], 'levels', () => {
  it('auto: first a full, then incrementals, and a rescan when the bitmap does not reach back', async () => {
    const guest = await Qcow2Guest.create(folder, { name: 'auto', size: MIB, seed: 20 });
    await guest.runRandom(4);
    const kept = [await backUp(guest, 'auto', { checkpoint: 'a' })];
    await guest.addBitmap('a');
    await guest.runRandom(4);
    kept.push(await backUp(guest, 'auto', { bitmap: 'a', since: 'a', checkpoint: 'b' }));
    await guest.runRandom(2);
    // It begins after the latest point: what was written in between is in no bitmap.
    await guest.addBitmap('late');
    await guest.runRandom(4);
    kept.push(await backUp(guest, 'auto', { bitmap: 'late', since: 'late', checkpoint: 'c' }));
    expect(kept.map(({ point }) => [point.level, point.reason?.code])).toEqual([
      ['full', 'first'],
      ['incremental', 'auto'],
      ['incremental', 'rescan'],
    ]);
    for (const { point, content } of kept)
      await checkRestores(folder.file('repo'), `auto@${point.id}`, content);
  });

  it('refuses an incremental whose bitmap is younger than its parent, and takes an older one', async () => {
    const guest = await Qcow2Guest.create(folder, { name: 'young', size: MIB, seed: 21 });
    await backUp(guest, 'young', { level: 'full', checkpoint: 'one' });
    await guest.addBitmap('one');
    await guest.runRandom(4);
    await backUp(guest, 'young', { level: 'full', checkpoint: 'two' });
    await guest.addBitmap('two');
    await guest.runRandom(4);
    const before = await fileDigests(folder.file('repo'));
    // The parent would be `two`'s full; `one` is no ancestor of it. And nobody knows `three`.
    for (const since of ['one', 'three']) {
      const refused = backUp(guest, 'young', { level: 'incremental', bitmap: 'two', since });
      expect(await codeOf(refused)).toBe('CHAIN_ORDER');
    }
    expect(await fileDigests(folder.file('repo'))).toEqual(before);
    await backUp(guest, 'young', { level: 'incremental', bitmap: 'two', since: 'two', checkpoint: 'three' });
    await guest.runRandom(4);
    const superset = await backUp(guest, 'young', { level: 'incremental', bitmap: 'two', since: 'two' });
    await checkRestores(folder.file('repo'), `young@${superset.point.id}`, superset.content);
  });

  it('refuses an incremental without its bitmap', async () => {
    const guest = await Qcow2Guest.create(folder, { name: 'bare', size: MIB, seed: 22 });
    await backUp(guest, 'bare', { level: 'full' });
    const disks = (uri: string) => [{ name: 'vda', uri, bitmap: 'gone' }];
    const refused = guest.served([], uri =>
      backup({ repository: folder.file('repo'), machine: 'bare', disks: disks(uri), level: 'incremental' }),
    );
    expect(await codeOf(refused)).toBe('NBD_CONTEXT_MISSING');
  });

  it('takes a full after so many points, and before a chain gets too long', async () => {
    const guest = await Qcow2Guest.create(folder, { name: 'often', size: MIB, seed: 23 });
    const levels = { fullEvery: [] as unknown[], maxChain: [] as unknown[] };
    for (const option of ['fullEvery', 'maxChain'] as const) {
      await guest.addBitmap(option);
      for (let step = 0; step < 5; step++) {
        await guest.runRandom(2);
        const { point, content } = await backUp(guest, `often-${option}`, { bitmap: option, [option]: 2 });
        levels[option].push(point.level === 'full' ? point.reason?.code : point.level);
        const restored = await restoreBytes(folder.file('repo'), `often-${option}@${point.id}`);
        expectSameBytes(restored, content, point.id);
      }
    }
    expect(levels.fullEvery).toEqual(['first', 'incremental', 'full-every', 'incremental', 'full-every']);
    expect(levels.maxChain).toEqual(['first', 'incremental', 'max-chain', 'incremental', 'max-chain']);
  });
});

describeWith(['qemu-nbd', 'qemu-io', 'qemu-img'], 'zeroes', () => {
  it('brings back as zero what was zeroed or discarded since the full', async () => {
    const guest = await Qcow2Guest.create(folder, { name: 'zeroed', size: 4 * MIB, seed: 30 });
    await guest.run({ kind: 'fill', offset: 0, length: 4 * MIB, byte: 0xaa });
    await backUp(guest, 'zeroed', { level: 'full', checkpoint: 'a' });
    await guest.addBitmap('a');
    await guest.run(
      { kind: 'zero', offset: 0, length: 64 * KIB, unmap: true },
      { kind: 'zero', offset: 200_001, length: 300_000, unmap: false },
      { kind: 'discard', offset: MIB, length: 512 * KIB },
      { kind: 'fill', offset: 2 * MIB, length: 128 * KIB, byte: 0 },
    );
    const { point, content } = await backUp(guest, 'zeroed', {
      level: 'incremental',
      bitmap: 'a',
      since: 'a',
    });
    expect(content.includes(0)).toBe(true);
    expect(point.statistics.zeroBytes).toBeGreaterThanOrEqual(64 * KIB + 512 * KIB);
    await checkRestores(folder.file('repo'), `zeroed@${point.id}`, content);
  });
});
