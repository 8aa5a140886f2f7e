import { randomBytes } from 'node:crypto';
import type { Range } from '#nbdelta/index.js';
import { type BackupOptions, type BackupResult, backup } from '#nbdelta/index.js';
import type { BlockSource } from '#nbdelta/nbd/server/block-source.js';
import { startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { TrackedDisk } from '#nbdelta/nbd/server/tracked-disk.js';
import type { TempFolder } from './temp-folder.js';

/** The bitmap that every guest keeps; it starts anew with each committed point. */
export const BITMAP = 'since-last';

/** A disk in this process, of any size, with a plain copy of its bytes to compare with. */
export class TrackedGuest {
  #disk: TrackedDisk;
  /** What the disk holds. */
  content: Buffer;
  /** Written since the bitmap began. */
  #dirty: Range[] = [];

  constructor(size: number) {
    this.#disk = new TrackedDisk(size);
    this.content = Buffer.alloc(size);
    this.#disk.addBitmap(BITMAP);
  }

  get size(): number {
    return this.content.length;
  }

  write(offset: number, bytes: Buffer): void {
    this.#disk.write(offset, bytes);
    this.content.set(bytes, offset);
    this.#dirty.push({ offset, length: bytes.length });
  }

  zero(offset: number, length: number): void {
    this.#disk.zero(offset, length);
    this.content.fill(0, offset, offset + length);
    this.#dirty.push({ offset, length });
  }

  /** Grows (by zeroes) or cuts off the disk; what is dirty stays so. */
  resize(size: number): void {
    const grown = Math.max(0, size - this.size);
    const content = Buffer.alloc(size);
    this.content.copy(content);
    if (grown > 0) this.#dirty.push({ offset: this.size, length: grown });
    this.content = content;
    this.#disk = new TrackedDisk(size);
    this.#disk.write(0, content);
    this.#disk.addBitmap(BITMAP);
    this.#dirty = this.#dirty.filter(({ offset }) => offset < size);
    for (const { offset, length } of this.#dirty) {
      this.#disk.write(offset, content.subarray(offset, Math.min(size, offset + length)));
    }
  }

  /** The bitmap begins anew: what was written so far is in a point. */
  committed(): void {
    this.#disk.removeBitmap(BITMAP);
    this.#disk.addBitmap(BITMAP);
    this.#dirty = [];
  }

  /** The disk and its bitmap as they are now. */
  snapshot(): BlockSource {
    return this.#disk.snapshot();
  }
}

/** A unix socket's path that nobody uses. */
export function socketPath(folder: TempFolder): string {
  return folder.file(`s${randomBytes(4).toString('hex')}`);
}

/** Serves sources by name as long as `work` runs. */
export async function served<Result>(
  folder: TempFolder,
  sources: Readonly<Record<string, BlockSource>>,
  work: (uriOf: (name: string) => string) => Promise<Result>,
): Promise<Result> {
  await using server = await startNbdServer({
    exports: Object.entries(sources).map(([name, source]) => ({ name, source })),
    listen: { kind: 'unix', path: socketPath(folder) },
  });
  return await work(name => server.uri(name));
}

/** Backs up guests by disk name through our own server; their bitmaps begin anew when it was committed. */
export async function backUpGuests(
  folder: TempFolder,
  guests: Readonly<Record<string, TrackedGuest>>,
  options: Partial<BackupOptions> = {},
): Promise<BackupResult> {
  const sources = Object.fromEntries(Object.entries(guests).map(([name, guest]) => [name, guest.snapshot()]));
  const result = await served(folder, sources, uriOf =>
    backup({
      repository: folder.file('repo'),
      machine: 'guest',
      disks: Object.keys(guests).map(name => ({ name, uri: uriOf(name), bitmap: BITMAP })),
      ...options,
    }),
  );
  for (const guest of Object.values(guests)) guest.committed();
  return result;
}
