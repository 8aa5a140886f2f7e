import { NbdeltaError } from '../../errors.js';
import type { ArchiveHeader } from './archive-header.js';
import type { IndexPlace } from './archive-trailer.js';
import { MAX_VOLUME_BYTES, MAX_VOLUMES, VOLUME_TAIL } from './format-limits.js';
import { tarMemberLength } from './tar-member.js';
import { type VolumeSink, VolumeWriter } from './volume-writer.js';

/** A finished volume. */
export interface VolumeSummary {
  readonly volume: number;
  readonly bytes: number;
}

export interface VolumeSeriesOptions {
  /** Header of every volume, but for the number. */
  readonly header: Omit<ArchiveHeader, 'volume'>;
  /** Opens the place for volume 1, 2, … */
  readonly openVolume: (volume: number) => Promise<VolumeSink>;
  /** A volume is closed before it gets larger than this, unless it has a single member. Default 128 GiB. */
  readonly maxVolumeBytes?: number;
}

/** The volumes of an archive, written one after another. */
export class VolumeSeries {
  readonly #options: VolumeSeriesOptions;
  readonly #finished: VolumeSummary[] = [];
  /** All volumes, until the archive is finished. */
  readonly #opened: VolumeWriter[] = [];
  #current: VolumeWriter | undefined;

  constructor(options: VolumeSeriesOptions) {
    this.#options = options;
  }

  /** The volume that takes a member of `size` bytes: the current one, or a new one when it would get too large. */
  async volumeFor(size: number): Promise<VolumeWriter> {
    const limit = this.#options.maxVolumeBytes ?? MAX_VOLUME_BYTES;
    const current = this.#current;
    if (current !== undefined) {
      if (!current.hasContent || current.position + tarMemberLength(size) + VOLUME_TAIL <= limit)
        return current;
      await this.#close(current, undefined);
    }
    return this.open();
  }

  /** Opens the next volume and writes its header. */
  async open(): Promise<VolumeWriter> {
    const number = this.#finished.length + 1;
    if (number > MAX_VOLUMES) {
      throw new NbdeltaError('USAGE', `archive needs more than ${MAX_VOLUMES} volumes`, {
        hint: 'make volumes larger',
      });
    }
    const writer = new VolumeWriter(number, await this.#options.openVolume(number));
    this.#current = writer;
    this.#opened.push(writer);
    await writer.writeHeader({ ...this.#options.header, volume: number });
    return writer;
  }

  /** Closes the last volume; all volumes are durable then, and no longer given up. */
  async finish(index: IndexPlace): Promise<readonly VolumeSummary[]> {
    await this.#close(this.#current!, index);
    this.#opened.length = 0;
    return this.#finished;
  }

  /** Gives all volumes up, the closed ones too: without the last one they are of no use. */
  async abort(): Promise<void> {
    this.#current = undefined;
    let failure: { readonly error: unknown } | undefined;
    for (const volume of this.#opened.splice(0)) {
      await volume.abort().catch(error => {
        failure ??= { error };
      });
    }
    if (failure) throw failure.error;
  }

  async #close(writer: VolumeWriter, index: IndexPlace | undefined): Promise<void> {
    const base = { archiveId: this.#options.header.archiveId, volume: writer.number };
    await writer.close(index === undefined ? { ...base, last: false } : { ...base, last: true, index });
    this.#finished.push({ volume: writer.number, bytes: writer.position });
    this.#current = undefined;
  }
}
