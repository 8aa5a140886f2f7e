import { AbortedError, ChainError, type NbdeltaError } from '../../errors.js';
import {
  type ArchiveHeader,
  decodeArchiveHeader,
  HEADER_MAX_LENGTH,
  HEADER_MEMBER,
} from './archive-header.js';
import { type ArchiveTrailer, decodeArchiveTrailer, TRAILER_MEMBER } from './archive-trailer.js';
import { TAR_BLOCK, TRAILER_LENGTH, VOLUME_TAIL } from './format-limits.js';
import { decodeTarHeader } from './tar-member.js';

/** Where a volume's bytes come from. */
export interface VolumeReader {
  /** Bytes of the volume's file. */
  readonly size: number;
  /** Fills `into` from `offset`; rejects when it cannot fill all of it. */
  read(offset: number, into: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface VolumeFilesOptions {
  readonly readVolume: (volume: number) => Promise<VolumeReader>;
  /** How many volumes the archive has. */
  readonly volumes: number;
  /** Refuse another disk's archive. */
  readonly disk?: string | undefined;
  /** Exact sizes of the volumes' files, in order: refuse any other. */
  readonly volumeBytes?: readonly number[] | undefined;
}

/** A volume that was looked at: it ends as it should. */
export interface OpenVolume {
  readonly reader: VolumeReader;
  readonly trailer: ArchiveTrailer;
}

/** The volumes of one archive, opened when first needed and checked then: whole, in its place, of this archive. */
export class VolumeFiles {
  readonly #options: VolumeFilesOptions;
  readonly #ended = new Map<number, Promise<OpenVolume>>();
  readonly #checked = new Map<number, Promise<ArchiveHeader>>();
  #archiveId: string | undefined;
  #closed = false;

  constructor(options: VolumeFilesOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#options.volumes;
  }

  /** From now on every volume must be of this archive. */
  expectArchive(archiveId: string): void {
    this.#archiveId = archiveId;
  }

  /** Opens a volume and checks its end. */
  openEnd(volume: number): Promise<OpenVolume> {
    return once(this.#ended, volume, () => this.#openEnd(volume));
  }

  /** Opens a volume and checks its end and its header. */
  async open(volume: number): Promise<VolumeReader> {
    const { reader } = await this.openEnd(volume);
    await this.header(volume);
    return reader;
  }

  /** The checked header of a volume. */
  header(volume: number): Promise<ArchiveHeader> {
    return once(this.#checked, volume, () => this.#checkHeader(volume));
  }

  /** Closes what is open; nothing is opened any more. Safe twice. */
  async close(): Promise<void> {
    this.#closed = true;
    const opened = await Promise.allSettled(this.#ended.values());
    this.#ended.clear();
    this.#checked.clear();
    const closing = opened.map(result =>
      result.status === 'fulfilled' ? result.value.reader.close() : undefined,
    );
    await Promise.all(closing);
  }

  async #openEnd(volume: number): Promise<OpenVolume> {
    // A read that waited for its turn must not open what nobody would close.
    if (this.#closed) throw new AbortedError('reading an archive that is closed');
    const reader = await this.#options.readVolume(volume);
    try {
      this.#checkSize(volume, reader.size);
      return { reader, trailer: await this.#readTrailer(volume, reader) };
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  #checkSize(volume: number, size: number): void {
    const expected = this.#options.volumeBytes?.[volume - 1];
    if (size < (expected ?? VOLUME_TAIL + TAR_BLOCK)) {
      throw torn(volume, `has ${size} bytes, expected ${expected ?? `at least ${VOLUME_TAIL + TAR_BLOCK}`}`);
    }
    if (expected !== undefined && size > expected)
      throw foreign(volume, `has ${size} bytes, expected ${expected}`);
  }

  async #readTrailer(volume: number, reader: VolumeReader): Promise<ArchiveTrailer> {
    const tail = Buffer.alloc(VOLUME_TAIL);
    await reader.read(reader.size - VOLUME_TAIL, tail);
    const member = decodeTarHeader(tail.subarray(0, TAR_BLOCK));
    const trailer = decodeArchiveTrailer(tail.subarray(TAR_BLOCK, TAR_BLOCK + TRAILER_LENGTH));
    const ends = tail.subarray(TAR_BLOCK + TRAILER_LENGTH).every(byte => byte === 0);
    if (member?.name !== TRAILER_MEMBER || member.size !== TRAILER_LENGTH || trailer === null || !ends) {
      throw torn(
        volume,
        `does not end with a trailer: it has ${reader.size} bytes, it was longer or still grew`,
      );
    }
    this.#checkTrailer(volume, trailer);
    return trailer;
  }

  #checkTrailer(volume: number, trailer: ArchiveTrailer): void {
    this.#checkIdentity(volume, trailer);
    if (trailer.last === (volume === this.count)) return;
    if (trailer.last) throw foreign(volume, `is the last one, expected ${this.count} volumes`);
    throw torn(volume, 'is not the last one: the volumes after it are missing');
  }

  #checkIdentity(volume: number, claimed: { archiveId: string; volume: number }): void {
    const expected = this.#archiveId ?? claimed.archiveId;
    if (claimed.archiveId !== expected) {
      throw foreign(volume, `is of archive ${claimed.archiveId}, expected ${expected}`);
    }
    if (claimed.volume !== volume) throw foreign(volume, `calls itself volume ${claimed.volume}`);
  }

  async #checkHeader(volume: number): Promise<ArchiveHeader> {
    const { reader } = await this.openEnd(volume);
    const block = Buffer.alloc(TAR_BLOCK);
    await reader.read(0, block);
    const member = decodeTarHeader(block);
    const room = Math.min(HEADER_MAX_LENGTH, reader.size - VOLUME_TAIL - TAR_BLOCK);
    if (member?.name !== HEADER_MEMBER || member.size > room)
      throw torn(volume, `does not start with ${HEADER_MEMBER}`);
    const content = Buffer.alloc(member.size);
    await reader.read(TAR_BLOCK, content);
    const header = decodeArchiveHeader(content);
    this.#checkIdentity(volume, header);
    const disk = this.#options.disk ?? header.disk;
    if (header.disk !== disk) throw foreign(volume, `is of disk ${header.disk}, expected ${disk}`);
    return header;
  }
}

/** What `make` promises, made once; a failure is not remembered, so that a retry is possible. */
function once<T>(made: Map<number, Promise<T>>, volume: number, make: () => Promise<T>): Promise<T> {
  const known = made.get(volume);
  if (known !== undefined) return known;
  const promise = make();
  made.set(volume, promise);
  promise.catch(() => made.delete(volume));
  return promise;
}

/** A volume that is incomplete. */
export function torn(volume: number, what: string): NbdeltaError {
  return new ChainError('CHAIN_TORN', `archive volume ${volume} ${what}`, {
    hint: 'copy the file again from where it is whole, or restore an older point',
    fields: { volume },
  });
}

/** A volume of something else. */
export function foreign(volume: number, what: string): NbdeltaError {
  return new ChainError('CHAIN_FOREIGN', `archive volume ${volume} ${what}`, {
    hint: 'a file was replaced or renamed: put the right one back',
    fields: { volume },
  });
}
