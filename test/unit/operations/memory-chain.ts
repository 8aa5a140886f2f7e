import { createHash } from 'node:crypto';
import { type ArchiveReader, openArchive } from '#nbdelta/archive/v1/archive-reader.js';
import { openArchiveWriter } from '#nbdelta/archive/v1/archive-writer.js';
import { mergeChain } from '#nbdelta/chain/chain-map.js';
import type { OpenChain } from '#nbdelta/chain/open-chain.js';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import type { FramePool } from '#nbdelta/codec/frame-pool.js';
import type { ExtentList } from '#nbdelta/extents/extent-list.js';
import { storeDisk } from '#nbdelta/operations/store-disk.js';
import { MemoryVolumes } from '../archive/memory-volumes.js';
import { applyArchive } from '../archive/tiny-archive.js';

/** The archives of one disk in memory, each on the one before. */
export class MemoryChain {
  /** The files of each archive, oldest first: what is changed in them is damaged. */
  readonly volumes: MemoryVolumes[] = [];
  readonly #sizes: number[] = [];
  /** How often a file was read since a chain was opened. */
  reads = 0;

  /** Stores what `changes` says of a disk; gives the bytes of data and of zeroes. */
  async store(content: Buffer, changes: ExtentList, pool: FramePool, frameSize = 1 << 20) {
    const volumes = new MemoryVolumes();
    const index = this.volumes.length;
    const writer = await openArchiveWriter({
      ...{ archiveId: archiveId(index), parentArchiveId: index === 0 ? null : archiveId(index - 1) },
      ...{ disk: 'vda', size: content.length, frameSize, codec: parseCodec('zstd:1') },
      openVolume: volumes.openVolume,
    });
    await storeDisk({ reader: readerOf(content), changes, writer, pool, frameSize });
    const summary = await writer.finish();
    this.volumes.push(volumes);
    this.#sizes.push(content.length);
    return summary;
  }

  /** The chain that ends in the newest archive. */
  async open(): Promise<OpenChain> {
    const archives = await this.#openAll();
    this.reads = 0;
    const size = this.#sizes.at(-1)!;
    const points = archives.map((_, index) => ({
      point: { id: `point-${index}` },
      disk: { name: 'vda', archive: { volumes: [{ name: 'vda.0001.tar' }] } },
    }));
    return {
      ...{ machine: 'guest', disk: 'vda', point: points.at(-1)!.point.id, size, archives },
      links: points as unknown as OpenChain['links'],
      segments: await mergeChain(
        archives.map(archive => ({ extents: archive.takeExtents(), frameCount: archive.frames.count })),
        size,
      ),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  /** What a reader that knows only the format makes of the newest point: what lies beyond its size is left out. */
  async read(): Promise<Buffer> {
    const disk = Buffer.alloc(Math.max(...this.#sizes));
    for (const archive of await this.#openAll()) await applyArchive(archive, disk);
    return disk.subarray(0, this.#sizes.at(-1));
  }

  #openAll(): Promise<ArchiveReader[]> {
    const readVolume = (volumes: MemoryVolumes) => async (volume: number) => {
      const file = await volumes.readVolume(volume);
      const read: typeof file.read = (offset, into) => {
        this.reads++;
        return file.read(offset, into);
      };
      return { ...file, read };
    };
    return Promise.all(
      this.volumes.map(each => openArchive({ readVolume: readVolume(each), volumes: each.files.length })),
    );
  }
}

function archiveId(index: number): string {
  return createHash('md5').update(String(index)).digest('hex');
}

/** A disk that is a buffer. */
export function readerOf(content: Buffer) {
  return {
    readInto: async (offset: number, target: Uint8Array) => {
      if (offset + target.length > content.length) throw new Error(`read ${offset}+${target.length}`);
      await new Promise(resolve => setImmediate(resolve));
      content.copy(target, 0, offset, offset + target.length);
    },
  };
}
