/** Damaged, cut, swapped and missing files: never wrong data, never success, and the point is named. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type NbdeltaError, openChain, restore, verify } from '#nbdelta/index.js';
import { codeOf, expectSameBytes } from '../support/restore-check.js';
import { tarRegions } from '../support/tar-regions.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../support/tracked-guest.js';

const SIZE = 2 ** 20 + 4711;
const VOLUME = 'vda.0001.tar';

let folder: TempFolder;
/** Ids, oldest first: a full and two incrementals of `guest`. */
let ids: [string, string, string];
let content: Buffer;

beforeAll(async () => {
  folder = await tempFolder();
  const guest = new TrackedGuest(SIZE);
  guest.write(0, randomBytes(600_000));
  const points: string[] = [];
  for (let step = 0; step < 3; step++) {
    points.push((await backUpGuests(folder, { vda: guest }, { frameSize: 65_536 })).point.id);
    content = Buffer.from(guest.content);
    guest.write(step * 100_000, randomBytes(150_000));
    guest.zero(step * 300_000, 70_000);
  }
  ids = points as [string, string, string];
  const other = new TrackedGuest(SIZE);
  other.write(0, randomBytes(600_000));
  await backUpGuests(folder, { vda: other }, { machine: 'other', frameSize: 65_536 });
});
afterAll(() => folder[Symbol.asyncDispose]());

interface Outcome {
  readonly code: string;
  readonly message: string;
  /** What verify found. */
  readonly found: readonly { readonly point: string | null; readonly code: string }[];
}

/** A copy of the repository to do harm to. */
class Victim implements AsyncDisposable {
  readonly #folder: TempFolder;
  readonly repository: string;

  private constructor(own: TempFolder) {
    this.#folder = own;
    this.repository = own.file('repo');
  }

  static async make(): Promise<Victim> {
    const victim = new Victim(await tempFolder());
    await cp(folder.file('repo'), victim.repository, { recursive: true });
    return victim;
  }

  path(point: string, file: string, machine = 'guest'): string {
    return join(this.repository, machine, point, file);
  }

  async flip(path: string, at: number): Promise<void> {
    const bytes = await readFile(path);
    bytes[at]! ^= 0x10;
    await writeFile(path, bytes);
  }

  /** Restores the newest point. Success is only right with the right bytes; a failure leaves no file. */
  async outcome(): Promise<Outcome> {
    const to = this.#folder.file('target');
    let failure: NbdeltaError | undefined;
    try {
      await restore({ repository: this.repository, point: `guest@${ids[2]}`, disk: 'vda', to, threads: 1 });
      expectSameBytes(await readFile(to), content, 'restored from a damaged repository');
      await rm(to);
    } catch (error) {
      failure = error as NbdeltaError;
    }
    expect(await readdir(this.#folder.path)).toEqual(['repo']);
    const { ok, problems } = await verify({ repository: this.repository, threads: 1 });
    expect(ok).toBe(problems.length === 0);
    return {
      code: failure?.code ?? 'no error',
      message: failure?.message ?? '',
      found: problems.map(({ point, code }) => ({ point, code })),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }
}

const DAMAGE_CODES = ['DATA_DAMAGED', 'CHAIN_TORN', 'CHAIN_FOREIGN', 'CHAIN_MISSING', 'FORMAT_UNSUPPORTED'];

function expectNamed({ code, message, found }: Outcome, point: string): void {
  expect(DAMAGE_CODES).toContain(code);
  expect(message).toContain(point);
  expect(found.map(problem => problem.point)).toContain(point);
}

describe('a byte of an archive flipped', () => {
  const POSITIONS = ['first', 'middle', 'last'] as const;

  it.each([0, 1, 2] as const)(
    'anywhere in the archive of point %i of the chain',
    async position => {
      const id = ids[position];
      const regions = tarRegions(await readFile(folder.file('repo', 'guest', id, VOLUME)));
      expect(regions.map(region => region.name)).toEqual(
        expect.arrayContaining(['frames', 'pack table', 'index.zst', 'trailer.json', 'header.json', 'end']),
      );
      for (const { name, offset, length, needed } of regions) {
        for (const where of POSITIONS) {
          await using victim = await Victim.make();
          const at = { first: offset, middle: offset + (length >> 1), last: offset + length - 1 }[where];
          await victim.flip(victim.path(id, VOLUME), at);
          const outcome = await victim.outcome();
          const what = `${name}, ${where} byte (${at})`;
          expect(
            outcome.found.map(problem => problem.point),
            what,
          ).toContain(id);
          // The last byte of a frame is zstd's checksum, not content: a restore gives out bytes whose digest is right.
          if (name === 'frames' && where === 'last') expect(outcome.code, what).toBe('no error');
          // Newer points may cover any frame of an older one.
          else if (needed && (name !== 'frames' || position === 2))
            expect(outcome.code, what).not.toBe('no error');
          if (outcome.code !== 'no error') expectNamed(outcome, id);
        }
      }
    },
    60_000,
  );

  it('fails only the reads that need it', async () => {
    await using victim = await Victim.make();
    const [data] = tarRegions(await readFile(folder.file('repo', 'guest', ids[0], VOLUME))).filter(
      region => region.name === 'frames',
    );
    await victim.flip(victim.path(ids[0], VOLUME), data!.offset + data!.length - 20);
    await using chain = await openChain({
      repository: victim.repository,
      point: `guest@${ids[0]}`,
      disk: 'vda',
    });
    const codes = new Set<string>();
    for (let at = 0; at < SIZE; at += 50_000) {
      const length = Math.min(50_000, SIZE - at);
      const code = await codeOf(chain.read(at, length));
      codes.add(code);
      // A second reader gets an error as well, not what the first left in the cache.
      expect(await codeOf(chain.read(at, length))).toBe(code);
    }
    expect([...codes].sort()).toEqual(['DATA_DAMAGED', 'no error']);
  });
});

describe('a byte of a manifest flipped', () => {
  it.each(['manifest.json', 'manifest.sha256'])(
    '%s',
    async file => {
      for (const id of ids) {
        const { length } = await readFile(folder.file('repo', 'guest', id, file));
        for (let at = 0; at < length; at += Math.ceil(length / 5)) {
          await using victim = await Victim.make();
          await victim.flip(victim.path(id, file), at);
          const outcome = await victim.outcome();
          const what = `${file} of ${id}, byte ${at}`;
          expect(
            outcome.found.map(problem => problem.point),
            what,
          ).toContain(id);
          if (outcome.code !== 'no error') expectNamed(outcome, id);
          if (file === 'manifest.json') expect(outcome.code, what).not.toBe('no error');
        }
      }
    },
    60_000,
  );
});

describe('an archive cut short', () => {
  it('anywhere', async () => {
    const { length } = await readFile(folder.file('repo', 'guest', ids[1], VOLUME));
    for (const size of [0, 1, 512, length >> 1, length - 2048, length - 1024, length - 512, length - 1]) {
      await using victim = await Victim.make();
      await truncate(victim.path(ids[1], VOLUME), size);
      const outcome = await victim.outcome();
      expect(outcome.code, `${size} bytes`).toBe('CHAIN_TORN');
      expectNamed(outcome, ids[1]);
    }
  });

  it('and filled up to its size again', async () => {
    const bytes = await readFile(folder.file('repo', 'guest', ids[1], VOLUME));
    await using victim = await Victim.make();
    await writeFile(
      victim.path(ids[1], VOLUME),
      Buffer.concat([bytes.subarray(0, 4096), Buffer.alloc(bytes.length - 4096)]),
    );
    expectNamed(await victim.outcome(), ids[1]);
  });

  it('or longer', async () => {
    await using victim = await Victim.make();
    await writeFile(victim.path(ids[1], VOLUME), 'more', { flag: 'a' });
    expectNamed(await victim.outcome(), ids[1]);
  });
});

describe('files in the wrong place', () => {
  it.each([0, 1, 2] as const)('the volume of point %i is gone', async position => {
    await using victim = await Victim.make();
    await rm(victim.path(ids[position], VOLUME));
    const outcome = await victim.outcome();
    expect(outcome.code).toBe('CHAIN_TORN');
    expectNamed(outcome, ids[position]);
  });

  it('the volumes of two points are swapped', async () => {
    await using victim = await Victim.make();
    const [one, two] = [victim.path(ids[1], VOLUME), victim.path(ids[2], VOLUME)];
    await rename(one, `${one}.aside`);
    await rename(two, one);
    await rename(`${one}.aside`, two);
    const outcome = await victim.outcome();
    expect(['CHAIN_TORN', 'CHAIN_FOREIGN']).toContain(outcome.code);
    expect(new Set(outcome.found.map(problem => problem.point))).toEqual(new Set([ids[1], ids[2]]));
  });

  it("another machine's archive, of the same disk's name and size", async () => {
    await using victim = await Victim.make();
    const [other] = (await readdir(join(victim.repository, 'other'))).filter(name => /^\d/.test(name));
    const [own, foreign] = [victim.path(ids[0], VOLUME), victim.path(other!, VOLUME, 'other')];
    const size = (await readFile(own)).length;
    await cp(foreign, own);
    // As long as the right one: only what is inside tells.
    const bytes = await readFile(own);
    if (bytes.length < size) await writeFile(own, Buffer.concat([Buffer.alloc(size - bytes.length), bytes]));
    else await writeFile(own, bytes.subarray(bytes.length - size));
    const outcome = await victim.outcome();
    expect(outcome.code).toBe('CHAIN_FOREIGN');
    expectNamed(outcome, ids[0]);
  });

  it("another machine's point under this one's name", async () => {
    await using victim = await Victim.make();
    const [other] = (await readdir(join(victim.repository, 'other'))).filter(name => /^\d/.test(name));
    await rm(join(victim.repository, 'guest', ids[0]), { recursive: true });
    await cp(join(victim.repository, 'other', other!), join(victim.repository, 'guest', ids[0]), {
      recursive: true,
    });
    expectNamed(await victim.outcome(), ids[0]);
  });

  it.each([0, 1] as const)('point %i, which others build on, is gone', async position => {
    await using victim = await Victim.make();
    await rm(join(victim.repository, 'guest', ids[position]), { recursive: true });
    const { code, message, found } = await victim.outcome();
    expect(code).toBe('CHAIN_MISSING');
    expect(message).toContain(ids[position]);
    expect(found.map(problem => problem.code)).toContain('CHAIN_MISSING');
  });

  it('a point that lost its manifest is no base, and no point', async () => {
    await using victim = await Victim.make();
    await rm(victim.path(ids[1], 'manifest.json'));
    expect((await victim.outcome()).code).toBe('CHAIN_MISSING');
    expect(existsSync(victim.path(ids[1], VOLUME))).toBe(true);
  });
});

describe('the latest point', () => {
  it('is not silently an older one when its manifest is damaged', async () => {
    await using victim = await Victim.make();
    await victim.flip(victim.path(ids[2], 'manifest.json'), 100);
    const to = join(victim.repository, 'target');
    expect(await codeOf(restore({ repository: victim.repository, point: 'guest', disk: 'vda', to }))).toBe(
      'DATA_DAMAGED',
    );
    expect(existsSync(to)).toBe(false);
    await restore({ repository: victim.repository, point: `guest@${ids[1]}`, disk: 'vda', to });
  });
});
