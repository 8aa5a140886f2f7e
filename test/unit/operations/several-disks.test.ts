/** Disks are read one after another; bringing an archive to storage holds up nobody but the end. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StorageError } from '#nbdelta/errors.js';
import { verify } from '#nbdelta/index.js';
import { LocalBackend } from '#nbdelta/repository/local-backend.js';
import { openRepository } from '#nbdelta/repository/repository.js';
import type { VolumeSink } from '#nbdelta/repository/storage-backend.js';
import { expectSameBytes, restoreBytes } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../../support/tracked-guest.js';

const FRAME = 65_536;
const DISKS = ['vda', 'vdb', 'vdc'];

let folder: TempFolder;
let guests: Record<string, TrackedGuest>;

beforeEach(async () => {
  folder = await tempFolder();
  guests = Object.fromEntries(
    DISKS.map(name => {
      const guest = new TrackedGuest(40 * FRAME);
      guest.write(0, randomBytes(40 * FRAME));
      return [name, guest];
    }),
  );
});
afterEach(() => folder[Symbol.asyncDispose]());

/** Backs all disks up to a repository whose volumes are changed by `change`, called with the disk's name. */
async function backUp(change: (disk: string, sink: VolumeSink) => VolumeSink) {
  const backend = new LocalBackend(folder.file('repo'));
  const { createVolume } = backend;
  backend.createVolume = async path => {
    const sink = await createVolume.call(backend, path);
    return change(/(vd.)\.0001\.tar$/.exec(path)![1]!, sink);
  };
  const repository = await openRepository(backend, { create: true });
  return await backUpGuests(folder, guests, { repository, frameSize: FRAME, threads: 1 });
}

describe('a backup of several disks', () => {
  it('reads the next disk while the archive of the one before is brought to storage', async () => {
    let nextBegins = () => {};
    const nextBegan = new Promise<void>(resolve => {
      nextBegins = resolve;
    });
    const { point } = await backUp((disk, sink) => ({
      append: async chunks => {
        if (disk === 'vdb') nextBegins();
        await sink.append(chunks);
      },
      close: async () => {
        if (disk === 'vda') await nextBegan;
        await sink.close();
      },
      abort: () => sink.abort(),
    }));
    expect(point.disks.map(disk => disk.name)).toEqual(DISKS);
    for (const name of DISKS)
      expectSameBytes(await restoreBytes(folder.file('repo'), 'guest', name), guests[name]!.content, name);
    expect(await verify({ repository: folder.file('repo') })).toMatchObject({ ok: true, archives: 3 });
  });

  it.each(DISKS)(
    'a volume of %s that cannot be brought to storage fails all of it, and nothing stays',
    async bad => {
      const closed: string[] = [];
      const failing = backUp((disk, sink) => ({
        append: chunks => sink.append(chunks),
        close: async () => {
          closed.push(disk);
          if (disk === bad) throw new StorageError('no space left on device');
          await sink.close();
        },
        abort: () => sink.abort(),
      }));
      await expect(failing).rejects.toMatchObject({ message: expect.stringContaining('no space left') });
      expect(closed).toContain(bad);
      expect(await readdir(folder.file('repo'))).toEqual(['nbdelta-repository.json']);
    },
  );

  it('a disk that cannot be written fails all of it, while the one before is still on its way to storage', async () => {
    let fails = () => {};
    const failed = new Promise<void>(resolve => {
      fails = resolve;
    });
    const ended: string[] = [];
    const failing = backUp((disk, sink) => ({
      append: async chunks => {
        if (disk !== 'vdb') return await sink.append(chunks);
        fails();
        throw new StorageError('no space left on device');
      },
      close: async () => {
        if (disk === 'vda') await failed;
        await sink.close();
        ended.push(disk);
      },
      abort: () => sink.abort(),
    }));
    await expect(failing).rejects.toMatchObject({ message: expect.stringContaining('no space left') });
    expect(ended).toEqual(['vda']);
    expect(await readdir(folder.file('repo'))).toEqual(['nbdelta-repository.json']);
  });
});
