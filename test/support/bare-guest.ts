import { ExtentKind, ExtentList } from '#nbdelta/extents/extent-list.js';
import { type BackupOptions, type BackupResult, backup } from '#nbdelta/index.js';
import type { BlockSource, StatusExtent } from '#nbdelta/nbd/server/block-source.js';
import { SeededRandom } from './random.js';
import type { TempFolder } from './temp-folder.js';
import { served } from './tracked-guest.js';

const NBD_STATE_HOLE = 1;
const NBD_STATE_ZERO = 2;

/** A disk in this process without bitmaps, as a raw file or a volume is: its bytes, and a server's view of them. */
export class BareGuest {
  content: Buffer;

  constructor(size: number) {
    this.content = Buffer.alloc(size);
  }

  /** Grows (by zeroes) or cuts off the disk. */
  resize(size: number): void {
    const content = Buffer.alloc(size);
    this.content.copy(content);
    this.content = content;
  }

  /**
   * The disk as it is now. What it says of allocation is true and otherwise arbitrary: cut anywhere, zeroes as data,
   * as zero, as a hole or (what must be read) as a hole whose content is undefined.
   */
  snapshot(seed: number): BlockSource {
    const content = Buffer.from(this.content);
    const extents = describe(content, new SeededRandom(seed));
    return {
      size: content.length,
      contexts: ['base:allocation'],
      readInto: async (offset, target) => void content.copy(target, 0, offset, offset + target.length),
      status: (_context, offset, length, most) => clip(extents, offset, length, most),
    };
  }

  /** Backs the disk up as `vda` of `guest`. */
  async backUp(
    folder: TempFolder,
    seed: number,
    options: Partial<BackupOptions> = {},
  ): Promise<BackupResult> {
    return await served(folder, { vda: this.snapshot(seed) }, uriOf =>
      backup({
        ...{ repository: folder.file('repo'), machine: 'guest', threads: 1 },
        disks: [{ name: 'vda', uri: uriOf('vda') }],
        ...options,
      }),
    );
  }
}

/** What a change map of the whole disk has of such an answer. */
export function liveMap(content: Buffer, random: SeededRandom): ExtentList {
  const list = new ExtentList();
  for (const { length, status } of describe(content, random)) {
    list.append(list.end, length, status & NBD_STATE_ZERO ? ExtentKind.zero : ExtentKind.data);
  }
  return list;
}

function describe(content: Buffer, random: SeededRandom): StatusExtent[] {
  const extents: StatusExtent[] = [];
  for (let at = 0; at < content.length; ) {
    const length = Math.min(content.length - at, 1 + random.below(random.pick([5000, 70_000, 400_000])));
    const isZero = !content.subarray(at, at + length).some(byte => byte !== 0);
    const zeroes = isZero ? random.pick([0, NBD_STATE_ZERO, NBD_STATE_ZERO, NBD_STATE_ZERO]) : 0;
    extents.push({ length, status: zeroes | random.pick([0, NBD_STATE_HOLE]) });
    at += length;
  }
  return extents;
}

function clip(all: readonly StatusExtent[], offset: number, length: number, most: number): StatusExtent[] {
  const found: StatusExtent[] = [];
  let start = 0;
  for (const extent of all) {
    const [from, to] = [Math.max(offset, start), Math.min(offset + length, start + extent.length)];
    if (to > from && found.length < most) found.push({ length: to - from, status: extent.status });
    start += extent.length;
  }
  return found;
}
