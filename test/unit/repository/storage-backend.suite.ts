import { describe, expect, it } from 'vitest';
import type { StorageBackend } from '#nbdelta/repository/storage-backend.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** What every {@link StorageBackend} must do. `open` gives an empty one; the caller cleans up. */
export function describeStorageBackend(name: string, open: () => Promise<StorageBackend>): void {
  describe(`${name} as a storage backend`, () => {
    async function readText(backend: StorageBackend, path: string): Promise<string | null> {
      const seen = await backend.read(path, { maxBytes: 1000 });
      return seen === null ? null : Buffer.from(seen).toString();
    }

    it('reads what was put, null for nothing, and refuses more than the cap', async () => {
      const backend = await open();
      expect(await readText(backend, 'none')).toBeNull();
      expect(await readText(backend, 'no/folder')).toBeNull();
      await backend.replace('a', bytes('12345'));
      expect(await readText(backend, 'a')).toBe('12345');
      await expect(backend.read('a', { maxBytes: 4 })).rejects.toThrow('5 bytes, expected at most 4');
      await backend.replace('a', bytes(''));
      expect(await readText(backend, 'a')).toBe('');
    });

    it('putExclusive lets one of many win, and leaves nothing else behind', async () => {
      const backend = await open();
      const names = Array.from({ length: 16 }, (_, index) => `writer ${index}`);
      const won = await Promise.all(names.map(text => backend.putExclusive('a', bytes(text))));
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await readText(backend, 'a')).toBe(names[won.indexOf(true)]);
      expect((await backend.list('')).map(entry => entry.name)).toEqual(['a']);
    });

    it('removeIfUnchanged removes only what was judged, and for one of many callers', async () => {
      const backend = await open();
      expect(await backend.removeIfUnchanged('a', bytes('x'))).toBe(false);
      await backend.replace('a', bytes('new and longer'));
      expect(await backend.removeIfUnchanged('a', bytes('old'))).toBe(false);
      expect(await backend.removeIfUnchanged('a', bytes('new and longeR'))).toBe(false);
      expect(await readText(backend, 'a')).toBe('new and longer');
      const removed = await Promise.all(
        Array.from({ length: 8 }, () => backend.removeIfUnchanged('a', bytes('new and longer'))),
      );
      expect(removed.filter(Boolean)).toHaveLength(1);
      expect(await backend.list('')).toEqual([]);
    });

    it('lists files with sizes and folders; a missing folder holds nothing', async () => {
      const backend = await open();
      expect(await backend.list('none')).toEqual([]);
      expect(await backend.makeFolder('f')).toBe(true);
      expect(await backend.makeFolder('f')).toBe(false);
      await backend.replace('f/b', bytes('12'));
      await backend.replace('a', bytes('1'));
      expect(await backend.list('')).toMatchObject([
        { name: 'a', kind: 'file' },
        { name: 'f', kind: 'folder' },
      ]);
      expect(await backend.list('', { sizes: true })).toEqual([
        { name: 'a', kind: 'file', bytes: 1 },
        { name: 'f', kind: 'folder' },
      ]);
      expect(await backend.list('f', { sizes: true })).toEqual([{ name: 'b', kind: 'file', bytes: 2 }]);
      await expect(backend.removeFolder('f')).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
      await backend.remove('f/b');
      await backend.remove('f/b');
      await backend.removeFolder('f');
      await backend.removeFolder('f');
      expect((await backend.list('')).map(entry => entry.name)).toEqual(['a']);
    });

    it('writes a volume in order, however many chunks and appends there are', async () => {
      const backend = await open();
      const sink = await backend.createVolume('v');
      const pieces = Array.from({ length: 3000 }, (_, index) => bytes(`${index},`));
      await Promise.all([
        sink.append(pieces.slice(0, 2000)),
        sink.append([]),
        sink.append([bytes('')]),
        sink.append(pieces.slice(2000)),
      ]);
      await sink.close();
      await sink.close();
      const expected = Buffer.concat(pieces);
      const reader = await backend.openVolume('v');
      const seen = new Uint8Array(reader.size);
      await reader.read(0, seen);
      expect(Buffer.compare(seen, expected)).toBe(0);
      await expect(reader.read(expected.length - 1, new Uint8Array(2))).rejects.toThrow(
        `it ends at byte ${expected.length}, expected at least ${expected.length + 1}`,
      );
      await reader.close();
      await reader.close();
      await expect(reader.read(0, new Uint8Array(1))).rejects.toThrow('closed already');
      await expect(sink.append([bytes('x')])).rejects.toThrow('closed already');
    });

    it('never writes over a volume, and an aborted one is gone', async () => {
      const backend = await open();
      const sink = await backend.createVolume('v');
      await expect(backend.createVolume('v')).rejects.toThrow('EEXIST');
      await sink.append([bytes('x')]);
      await sink.abort();
      await sink.abort();
      expect(await backend.list('')).toEqual([]);
      await expect(backend.openVolume('v')).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
      const again = await backend.createVolume('v');
      await again.close();
      await again.abort();
      expect(await backend.list('')).toEqual([]);
    });

    it.each([
      '../x',
      '/etc/passwd',
      'a/../../b',
      'a//b',
      '.',
      'a/.',
      'a\0b',
      'a b',
      'ä',
      `${'a'.repeat(201)}`,
    ])('refuses the path %j everywhere', async path => {
      const backend = await open();
      const attempts = [
        () => backend.read(path, { maxBytes: 1 }),
        () => backend.createVolume(path),
        () => backend.openVolume(path),
        () => backend.putExclusive(path, bytes('x')),
        () => backend.replace(path, bytes('x')),
        () => backend.removeIfUnchanged(path, bytes('x')),
        () => backend.list(path),
        () => backend.remove(path),
        () => backend.removeFolder(path),
        () => backend.makeFolder(path),
      ];
      for (const attempt of attempts) await expect(attempt()).rejects.toThrow('not a path inside');
    });
  });
}
