import { DIGEST_LENGTH, STORED_DIGEST_LENGTH } from '../../codec/blake3.js';
import type { CodecSpec } from '../../codec/codec-spec.js';
import { AbortedError, NbdeltaError, UsageError } from '../../errors.js';
import { archiveIdBytes } from './archive-id.js';
import type { IndexPlace } from './archive-trailer.js';
import { ExtentLedger } from './extent-ledger.js';
import {
  ARCHIVE_FORMAT,
  ARCHIVE_VERSION,
  MAX_DISK_SIZE,
  MAX_FRAME_RAW,
  MAX_FRAME_STORED,
  MAX_ORIGINS,
  PACK_MAX_EXTENTS,
  PACK_MAX_FRAMES,
  PACK_TARGET,
  ZERO_FRAME,
} from './format-limits.js';
import type { FrameEntry } from './frame-entries.js';
import { FrameTable } from './frame-table.js';
import { writeIndex } from './index-writer.js';
import { encodePackTable, packTableLength } from './pack-table.js';
import { VolumeSeries, type VolumeSummary } from './volume-series.js';
import type { VolumeSink } from './volume-writer.js';

export type { VolumeSink } from './volume-writer.js';

export interface ArchiveWriterOptions {
  /** 32 hex digits; see `newArchiveId`. */
  readonly archiveId: string;
  /** The archive of the same disk that this one builds on; `null` in a full. */
  readonly parentArchiveId: string | null;
  readonly disk: string;
  /** Size of the disk in bytes. */
  readonly size: number;
  /** Largest raw length of a frame, at most 4 MiB. */
  readonly frameSize: number;
  readonly codec: CodecSpec;
  /** Opens the place for volume 1, 2, … */
  readonly openVolume: (volume: number) => Promise<VolumeSink>;
  /** Default 128 GiB. A volume gets larger only when a single pack or the index does. */
  readonly maxVolumeBytes?: number;
}

/** A sealed frame. Lengths in bytes. */
export interface StoredFrame {
  /** The stored bytes; they belong to the writer until `release`. */
  readonly stored: Uint8Array;
  readonly rawLength: number;
  /** BLAKE3 of the raw content. */
  readonly digest: Uint8Array;
  /** First 16 bytes of the BLAKE3 of the stored bytes. */
  readonly storedDigest: Uint8Array;
  /** Called exactly once, whatever happens (also when the call is refused): `stored` may be reused. */
  release(): void;
}

/** A sealed frame and the ranges of the disk that it brings. */
export interface NewFrame extends StoredFrame {
  /**
   * Ascending. Those that are not zero lie in the raw content one after another and fill it; zero ones have no
   * bytes there. At most 65,536.
   */
  readonly entries: readonly FrameEntry[];
}

/** A frame taken over from another archive without decoding it. */
export interface CopiedFrame extends StoredFrame {
  /** Where the frame was first written: the *origin* that its row in the source names. */
  readonly origin: { readonly archiveId: string; readonly frame: number };
}

/** What was written. Bytes. */
export interface ArchiveSummary {
  readonly archiveId: string;
  readonly volumes: readonly VolumeSummary[];
  readonly index: IndexPlace & { readonly volume: number };
  readonly frames: number;
  readonly extents: number;
  /** Bytes of the disk in data extents. */
  readonly dataBytes: number;
  /** Bytes of the disk in zero extents. */
  readonly zeroBytes: number;
  /** Size of all volumes together. */
  readonly storedBytes: number;
}

/** The pack that is being filled, or waits to be written. */
interface OpenPack {
  readonly firstFrame: number;
  readonly firstExtent: number;
  readonly frames: StoredFrame[];
  storedLength: number;
}

/**
 * Opens a writer and its first volume.
 * @throws UsageError for options that make no valid archive, before anything is opened.
 */
export async function openArchiveWriter(options: ArchiveWriterOptions): Promise<ArchiveWriter> {
  checkOptions(options);
  const { archiveId, parentArchiveId, disk, size, frameSize, codec, ...places } = options;
  const format = { format: ARCHIVE_FORMAT, version: ARCHIVE_VERSION } as const;
  const header = {
    ...format,
    archiveId,
    parentArchiveId,
    disk,
    size,
    frameSize,
    codec: codec.text,
    features: [],
  };
  const volumes = new VolumeSeries({ header, ...places });
  try {
    await volumes.open();
  } catch (error) {
    await volumes.abort();
    throw error;
  }
  return new ArchiveWriter(options, volumes);
}

/**
 * Writes one archive. Everything is added in ascending order of the disk. Frames are held until their pack is
 * written; one pack is written while the next fills, so at most two packs' frames are held, if the caller
 * awaits `addFrame`. After an error every later call rejects with it; then only `abort` makes sense.
 */
export class ArchiveWriter implements AsyncDisposable {
  readonly #archiveId: string;
  readonly #size: number;
  readonly #frameSize: number;
  readonly #volumes: VolumeSeries;
  readonly #ledger: ExtentLedger;
  readonly #frames = new FrameTable();
  readonly #origins: string[];
  readonly #originNumbers = new Map<string, number>();
  #pack: OpenPack = { firstFrame: 0, firstExtent: 0, frames: [], storedLength: 0 };
  #packs = 0;
  /** Settles when every closed pack is written; never rejects. */
  #writing: Promise<void> = Promise.resolve();
  /** The same for all closed packs but the newest. */
  #writingBefore: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;
  #ended = false;

  /** @internal use {@link openArchiveWriter}. */
  constructor(options: ArchiveWriterOptions, volumes: VolumeSeries) {
    this.#archiveId = options.archiveId;
    this.#size = options.size;
    this.#frameSize = options.frameSize;
    this.#volumes = volumes;
    this.#ledger = new ExtentLedger(options.size);
    this.#origins = [options.archiveId];
  }

  /**
   * Adds a frame and its ranges. Resolves when the writer can take more.
   * @throws UsageError for a frame or ranges that do not fit; nothing was added then.
   */
  async addFrame(frame: NewFrame): Promise<void> {
    releaseIfThrown(frame, () => {
      this.#checkOpen();
      this.#checkFrame(frame);
      this.#checkEntries(frame);
    });
    this.#makeRoom(frame.entries.length);
    const number = this.#hold(frame, 0, this.#frames.count);
    let within = 0;
    for (const { offset, length, zero } of frame.entries) {
      if (zero) {
        this.#ledger.addZero(offset, length);
      } else {
        this.#ledger.addData(offset, length, number, within);
        within += length;
      }
    }
    await this.#closePackIfFull();
  }

  /**
   * Adds a frame of another archive as it is; {@link addExtent} then says what of it is used, and where. Resolves
   * with its number here when the writer can take more.
   */
  async copyFrame(frame: CopiedFrame): Promise<number> {
    const origin = releaseIfThrown(frame, () => {
      this.#checkOpen();
      this.#checkFrame(frame);
      return this.#originNumber(frame.origin.archiveId);
    });
    const number = this.#hold(frame, origin, frame.origin.frame);
    await this.#closePackIfFull();
    return number;
  }

  /** Adds a frame of this archive whose ranges come later, by {@link addExtent}. Resolves with its number. */
  async addLooseFrame(frame: StoredFrame): Promise<number> {
    releaseIfThrown(frame, () => {
      this.#checkOpen();
      this.#checkFrame(frame);
    });
    const number = this.#hold(frame, 0, this.#frames.count);
    await this.#closePackIfFull();
    return number;
  }

  /** Adds a data extent: `length` bytes from raw byte `within` of a frame that was added before. */
  async addExtent(offset: number, length: number, frame: number, within: number): Promise<void> {
    this.#checkOpen();
    this.#ledger.check([{ offset, length }]);
    if (!(frame < this.#frames.count && within >= 0 && within + length <= this.#frames.rawLengthAt(frame))) {
      throw new UsageError(`extent at ${offset}: no bytes ${within} to ${within + length} in frame ${frame}`);
    }
    this.#makeRoom(1);
    this.#ledger.addData(offset, length, frame, within);
    await this.#closePackIfFull();
  }

  /** Adds a range that reads as zero; neighbouring ones become one extent. */
  async addZero(offset: number, length: number): Promise<void> {
    this.#checkOpen();
    this.#ledger.check([{ offset, length }]);
    this.#makeRoom(1);
    this.#ledger.addZero(offset, length);
    await this.#closePackIfFull();
  }

  /** Writes what is left, the index and the end; resolves when all volumes are durable. */
  async finish(): Promise<ArchiveSummary> {
    this.#checkOpen();
    this.#ended = true;
    this.#makeRoom(0);
    this.#ledger.flush();
    if (this.#pack.frames.length > 0 || this.#packExtents > 0) this.#closePack();
    await this.#writing;
    this.#throwFailure();
    try {
      return await this.#finishVolumes();
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }

  /** Gives up: every frame is released, every volume is aborted. Safe at any time and twice; no-op after `finish`. */
  async abort(): Promise<void> {
    this.#failure ??= { error: new AbortedError('archive writer') };
    this.#ended = true;
    await this.#writing;
    for (const frame of this.#pack.frames.splice(0)) frame.release();
    await this.#volumes.abort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }

  async #finishVolumes(): Promise<ArchiveSummary> {
    const [frames, extents] = [this.#frames, this.#ledger.table];
    const content = { archiveId: this.#archiveId, size: this.#size, origins: this.#origins, frames, extents };
    const index = await writeIndex(this.#volumes, content);
    const { volume: _, ...place } = index;
    const volumes = await this.#volumes.finish(place);
    return {
      archiveId: this.#archiveId,
      volumes,
      index,
      frames: frames.count,
      extents: extents.count,
      dataBytes: this.#ledger.dataBytes,
      zeroBytes: this.#ledger.zeroBytes,
      storedBytes: volumes.reduce((sum, volume) => sum + volume.bytes, 0),
    };
  }

  /** Takes a frame into the open pack; returns its number. */
  #hold(frame: StoredFrame, origin: number, originFrame: number): number {
    const { digest, storedDigest, rawLength, stored } = frame;
    const storedLength = stored.length;
    this.#frames.append({ digest, storedDigest, storedLength, rawLength, keyId: 0, origin, originFrame });
    this.#pack.frames.push(frame);
    this.#pack.storedLength += storedLength;
    return this.#frames.count - 1;
  }

  /** Closes the pack when `rows` more extents (and a zero range that is still growing) would be too many for it. */
  #makeRoom(rows: number): void {
    const coming = this.#ledger.growingRows + rows;
    if (this.#packExtents + coming <= PACK_MAX_EXTENTS) return;
    if (this.#pack.frames.length > 0 || this.#packExtents > 0) this.#closePack();
    if (coming <= PACK_MAX_EXTENTS) return;
    this.#ledger.flush();
    this.#closePack();
  }

  get #packExtents(): number {
    return this.#ledger.table.count - this.#pack.firstExtent;
  }

  /** Waits while more than one closed pack is not written yet. */
  async #closePackIfFull(): Promise<void> {
    const { frames, storedLength } = this.#pack;
    const isFull = storedLength >= PACK_TARGET || frames.length >= PACK_MAX_FRAMES;
    if (isFull || this.#packExtents >= PACK_MAX_EXTENTS) this.#closePack();
    await this.#writingBefore;
    this.#throwFailure();
  }

  #closePack(): void {
    const pack = this.#pack;
    const number = ++this.#packs;
    const nextExtent = this.#ledger.table.count;
    this.#ledger.settle();
    this.#pack = { firstFrame: this.#frames.count, firstExtent: nextExtent, frames: [], storedLength: 0 };
    this.#writingBefore = this.#writing;
    this.#writing = this.#writing.then(() => this.#writePack(pack, number, nextExtent - pack.firstExtent));
  }

  async #writePack(pack: OpenPack, number: number, extentCount: number): Promise<void> {
    try {
      if (this.#failure === undefined) await this.#appendPack(pack, number, extentCount);
    } catch (error) {
      this.#failure = { error };
    } finally {
      for (const frame of pack.frames) frame.release();
    }
  }

  async #appendPack(pack: OpenPack, number: number, extentCount: number): Promise<void> {
    const { firstFrame, firstExtent, frames, storedLength } = pack;
    const size = storedLength + packTableLength(frames.length, extentCount);
    const volume = await this.#volumes.volumeFor(size);
    let offset = volume.nextContentOffset;
    for (const [index, { stored }] of frames.entries()) {
      const frame = firstFrame + index;
      checkStillThere(stored, this.#frames.storedLengthAt(frame));
      this.#frames.place(frame, volume.number, offset);
      offset += stored.length;
    }
    const counts = { firstFrame, frameCount: frames.length, firstExtent, extentCount };
    const rows = { archiveId: this.#archiveId, pack: number, ...counts };
    const table = encodePackTable(rows, this.#frames, this.#ledger.table);
    await volume.writeMember(packMember(number), [...frames.map(frame => frame.stored), table], size);
  }

  #originNumber(archiveId: string): number {
    if (archiveId === this.#archiveId) return 0;
    const known = this.#originNumbers.get(archiveId);
    if (known !== undefined) return known;
    archiveIdBytes(archiveId);
    const number = this.#origins.length;
    if (number >= MAX_ORIGINS) throw new UsageError(`frames of more than ${MAX_ORIGINS} archives`);
    this.#origins.push(archiveId);
    this.#originNumbers.set(archiveId, number);
    return number;
  }

  #checkOpen(): void {
    this.#throwFailure();
    if (this.#ended) throw new UsageError('archive writer is finished');
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  #checkFrame({ stored, rawLength, digest, storedDigest }: StoredFrame): void {
    if (stored.length < 1 || stored.length > MAX_FRAME_STORED) {
      throw new UsageError(`frame of ${stored.length} stored bytes, expected 1 to ${MAX_FRAME_STORED}`);
    }
    if (!Number.isInteger(rawLength) || rawLength < 1 || rawLength > this.#frameSize) {
      throw new UsageError(`frame of ${rawLength} raw bytes, expected 1 to ${this.#frameSize}`);
    }
    if (digest.length !== DIGEST_LENGTH || storedDigest.length !== STORED_DIGEST_LENGTH) {
      throw new UsageError(`frame with digests of ${digest.length} and ${storedDigest.length} bytes`);
    }
    if (this.#frames.count >= ZERO_FRAME) throw new UsageError(`archive of more than ${ZERO_FRAME} frames`);
  }

  #checkEntries({ entries, rawLength }: NewFrame): void {
    if (entries.length > PACK_MAX_EXTENTS) {
      throw new UsageError(`frame with ${entries.length} extents, at most ${PACK_MAX_EXTENTS}`);
    }
    this.#ledger.check(entries);
    const live = entries.reduce((sum, { length, zero }) => (zero ? sum : sum + length), 0);
    if (live !== rawLength) throw new UsageError(`frame of ${rawLength} raw bytes, its extents have ${live}`);
  }
}

/** Name of a pack's member. */
export function packMember(pack: number): string {
  return `data/${String(pack).padStart(8, '0')}.zst`;
}

function releaseIfThrown<T>(frame: StoredFrame, check: () => T): T {
  try {
    return check();
  } catch (error) {
    frame.release();
    throw error;
  }
}

/** A buffer that was transferred away while its pack waited has no bytes: they would be missing, silently. */
function checkStillThere(stored: Uint8Array, expected: number): void {
  if (stored.length === expected) return;
  throw new NbdeltaError(
    'INTERNAL',
    `frame of ${expected} stored bytes has ${stored.length} when it is written`,
  );
}

function checkOptions({ archiveId, parentArchiveId, disk, size, frameSize }: ArchiveWriterOptions): void {
  archiveIdBytes(archiveId);
  if (parentArchiveId !== null) archiveIdBytes(parentArchiveId);
  if (disk.length < 1 || disk.length > 255) throw new UsageError(`disk name of ${disk.length} characters`);
  if (!Number.isInteger(size) || size < 0 || size > MAX_DISK_SIZE) {
    throw new UsageError(`disk of ${size} bytes, at most ${MAX_DISK_SIZE}`);
  }
  if (!Number.isInteger(frameSize) || frameSize < 1 || frameSize > MAX_FRAME_RAW) {
    throw new UsageError(`frame size ${frameSize}, expected 1 to ${MAX_FRAME_RAW}`);
  }
}
