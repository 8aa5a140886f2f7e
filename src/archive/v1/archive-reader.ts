import { ChainError, DamagedError, NbdeltaError, UsageError } from '../../errors.js';
import type { ArchiveHeader } from './archive-header.js';
import type { ArchiveTrailer, IndexPlace } from './archive-trailer.js';
import type { ExtentTable } from './extent-table.js';
import { MAX_VOLUMES, VOLUME_TAIL } from './format-limits.js';
import type { FrameTable } from './frame-table.js';
import type { IndexContent } from './index-codec.js';
import { readIndex } from './index-reader.js';
import { torn, VolumeFiles, type VolumeReader } from './volume-files.js';

export type { VolumeReader } from './volume-files.js';

/** What the manifest says of an archive; whatever is given is checked. */
export interface ArchiveExpectation {
  readonly archiveId?: string;
  /** SHA-256 of the stored index, 64 hex digits. */
  readonly indexSha256?: string;
  /** Length of the index before compression. Bytes. */
  readonly indexRawLength?: number;
  /** Rows of the index: how much memory it takes is known before it is read. */
  readonly frames?: number;
  readonly extents?: number;
  readonly disk?: string;
  /** Size of the disk in bytes. */
  readonly size?: number;
  /** Sizes of the volumes' files in order. */
  readonly volumeBytes?: readonly number[];
}

export interface OpenArchiveOptions {
  readonly readVolume: (volume: number) => Promise<VolumeReader>;
  /** How many volumes the archive has. */
  readonly volumes: number;
  readonly expected?: ArchiveExpectation;
}

/**
 * Opens an archive with two range reads (the end of the last volume, the index) and checks every row of the
 * index. Other volumes are opened when a frame in them is read; {@link ArchiveReader.checkVolumes} looks at all.
 * @throws ChainError CHAIN_TORN (a file is too short, or volumes are missing) or CHAIN_FOREIGN (another archive,
 *   volume or disk); DamagedError; NbdeltaError FORMAT_UNSUPPORTED; what `readVolume` throws.
 */
export async function openArchive({
  readVolume,
  volumes,
  expected = {},
}: OpenArchiveOptions): Promise<ArchiveReader> {
  if (!Number.isInteger(volumes) || volumes < 1 || volumes > MAX_VOLUMES) {
    throw new UsageError(`archive of ${volumes} volumes, expected 1 to ${MAX_VOLUMES}`);
  }
  const { volumeBytes } = expected;
  if (volumeBytes !== undefined && volumeBytes.length !== volumes) {
    throw new UsageError(`archive of ${volumes} volumes, sizes given for ${volumeBytes.length}`);
  }
  const files = new VolumeFiles({ readVolume, volumes, disk: expected.disk, volumeBytes });
  try {
    return new ArchiveReader(files, await openIndex(files, expected));
  } catch (error) {
    await files.close();
    throw error;
  }
}

async function openIndex(files: VolumeFiles, expected: ArchiveExpectation): Promise<IndexContent> {
  if (expected.archiveId !== undefined) files.expectArchive(expected.archiveId);
  const { reader, trailer } = await files.openEnd(files.count);
  files.expectArchive(trailer.archiveId);
  const place = indexPlace(trailer, reader.size, files.count, expected);
  const volumeBytes: (number | undefined)[] = Array.from(
    { length: files.count },
    (_, index) => expected.volumeBytes?.[index],
  );
  volumeBytes[files.count - 1] = reader.size;
  const { frames, extents } = expected;
  const index = await readIndex(reader, place, {
    archiveId: trailer.archiveId,
    volumeBytes,
    frames,
    extents,
  });
  if (expected.size !== undefined && index.size !== expected.size) {
    throw new ChainError(
      'CHAIN_FOREIGN',
      `archive of a disk of ${index.size} bytes, expected ${expected.size}`,
    );
  }
  return index;
}

function indexPlace(
  trailer: ArchiveTrailer,
  size: number,
  volume: number,
  { indexSha256: sha256, indexRawLength: rawLength }: ArchiveExpectation,
): IndexPlace {
  const place = trailer.index!; // The last volume's trailer has one: its schema says so, `last` was checked.
  if (sha256 !== undefined && place.sha256 !== sha256) {
    throw new DamagedError(`the trailer says that the index has SHA-256 ${place.sha256}, expected ${sha256}`);
  }
  if (rawLength !== undefined && place.rawLength !== rawLength) {
    throw new DamagedError(
      `the trailer says that the index has ${place.rawLength} bytes, expected ${rawLength}`,
    );
  }
  const end = place.offset + place.storedLength + VOLUME_TAIL;
  if (end > size) throw torn(volume, `has ${size} bytes, its index needs at least ${end}`);
  return place;
}

/** An open archive: its tables in memory, frames read one by one. Bytes. */
export class ArchiveReader implements AsyncDisposable {
  readonly archiveId: string;
  /** Size of the disk. */
  readonly size: number;
  /** Archive ids that frames' origins refer to; entry 0 is this archive. */
  readonly origins: readonly string[];
  readonly frames: FrameTable;
  readonly #files: VolumeFiles;
  #extents: ExtentTable | undefined;

  /** @internal use {@link openArchive}. */
  constructor(files: VolumeFiles, { archiveId, size, origins, frames, extents }: IndexContent) {
    this.#files = files;
    this.archiveId = archiveId;
    this.size = size;
    this.origins = origins;
    this.frames = frames;
    this.#extents = extents;
  }

  /** Extents by offset, until somebody takes them. */
  get extents(): ExtentTable {
    if (this.#extents === undefined) throw new NbdeltaError('INTERNAL', 'the extents were taken');
    return this.#extents;
  }

  /** Gives the extents away, with their memory: a chain needs one map, not one for each archive. */
  takeExtents(): ExtentTable {
    const { extents } = this;
    this.#extents = undefined;
    return extents;
  }

  /** The header of a volume, checked; by default the last one's. */
  header(volume: number = this.#files.count): Promise<ArchiveHeader> {
    return this.#files.header(volume);
  }

  /**
   * Reads the stored bytes of a frame to the start of `into`, as they are: opening the frame checks them.
   * @returns how many.
   * @throws UsageError when `into` is too small; ChainError; what the volume's reader throws.
   */
  async readStored(frame: number, into: Uint8Array): Promise<number> {
    if (!(frame >= 0 && frame < this.frames.count))
      throw new UsageError(`frame ${frame} of ${this.frames.count}`);
    const [length, offset, volume] = [
      this.frames.storedLengthAt(frame),
      this.frames.offsetAt(frame),
      this.frames.volumeAt(frame),
    ];
    if (into.length < length) throw new UsageError(`buffer of ${into.length} bytes for a frame of ${length}`);
    const reader = await this.#files.open(volume);
    const end = offset + length + VOLUME_TAIL;
    if (end > reader.size)
      throw torn(volume, `has ${reader.size} bytes, frame ${frame} needs at least ${end}`);
    await reader.read(offset, into.subarray(0, length));
    return length;
  }

  /** Opens every volume and checks its size, end and header. */
  async checkVolumes(): Promise<void> {
    for (let volume = 1; volume <= this.#files.count; volume++) await this.#files.open(volume);
  }

  /** Closes the volumes. Safe twice. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#files.close();
  }
}
