import { randomBytes } from 'node:crypto';
import type { Manifest, Range } from '#nbdelta/index.js';
import { type BackupOptions, type BackupResult, backup } from '#nbdelta/index.js';
import type { BlockSource } from '#nbdelta/nbd/server/block-source.js';
import { startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { TrackedDisk } from '#nbdelta/nbd/server/tracked-disk.js';
import type { TempFolder } from './temp-folder.js';

type PointLevel = Manifest['level'];

/** Bitmap that starts anew with each point of the chain. */
export const BITMAP = 'since-last';
/** Bitmap that starts anew with each full. */
export const FULL_BITMAP = 'since-full';

/** A disk in this process, of any size, with a plain copy of its bytes to compare with. */
export class TrackedGuest {
  #disk: TrackedDisk;
  /** What the disk holds. */
  content: Buffer;
  /** By bitmap: what was written since it began. */
  readonly #dirty = new Map<string, Range[]>([
    // The larger one first, see #restoreBitmap.
    [FULL_BITMAP, []],
    [BITMAP, []],
  ]);

  constructor(size: number) {
    this.#disk = new TrackedDisk(size);
    this.content = Buffer.alloc(size);
    for (const bitmap of this.#dirty.keys()) this.#disk.addBitmap(bitmap);
  }

  get size(): number {
    return this.content.length;
  }

  write(offset: number, bytes: Buffer): void {
    this.#disk.write(offset, bytes);
    this.content.set(bytes, offset);
    this.#mark(offset, bytes.length);
  }

  zero(offset: number, length: number): void {
    this.#disk.zero(offset, length);
    this.content.fill(0, offset, offset + length);
    this.#mark(offset, length);
  }

  #mark(offset: number, length: number): void {
    for (const ranges of this.#dirty.values()) ranges.push({ offset, length });
  }

  /** Grows (by zeroes) or cuts off the disk; what is dirty stays so, and what it grew by is dirty. */
  resize(size: number): void {
    if (size > this.size) this.#mark(this.size, size - this.size);
    const content = Buffer.alloc(size);
    this.content.copy(content);
    this.content = content;
    this.#disk = new TrackedDisk(size);
    this.#disk.write(0, content);
    for (const [bitmap, ranges] of this.#dirty) this.#restoreBitmap(bitmap, ranges);
  }

  /** Writing a range again marks it, also in the bitmaps added before: those have a little too much, which is safe. */
  #restoreBitmap(bitmap: string, ranges: readonly Range[]): void {
    this.#disk.addBitmap(bitmap);
    for (const { offset, length } of ranges) {
      if (offset < this.size) this.#disk.write(offset, this.content.subarray(offset, offset + length));
    }
  }

  /** A point was committed: what was written so far is in it. A copy is in no chain. */
  committed(level: PointLevel = 'incremental'): void {
    if (level !== 'copy') this.#restart(BITMAP);
    if (level === 'full') this.#restart(FULL_BITMAP);
  }

  #restart(bitmap: string): void {
    this.#disk.removeBitmap(bitmap);
    this.#disk.addBitmap(bitmap);
    this.#dirty.set(bitmap, []);
  }

  /** The disk and its bitmaps as they are now. */
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
      disks: Object.keys(guests).map(name => ({
        name,
        uri: uriOf(name),
        bitmap: options.level === 'differential' ? FULL_BITMAP : BITMAP,
      })),
      ...options,
    }),
  );
  for (const guest of Object.values(guests)) guest.committed(result.point.level);
  return result;
}
