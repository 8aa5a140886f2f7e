import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { UsageError } from '../../errors.js';
import type {
  Action,
  BeginRequest,
  DiskSelection,
  Finding,
  FrontEnd,
  Guest,
  GuestFile,
  SweepRequest,
} from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import { LocalHost } from '../host/local-host.js';
import { defaultSocketBase } from '../host/socket-folder.js';
import type { NamedSource } from '../open-front-end.js';
import { parseRunName } from '../run-name.js';
import { selectDisks } from '../select-disks.js';
import type { SessionRecord } from '../session-record.js';
import { beginImages } from './begin-images.js';
import { endImages, removeBitmaps } from './end-images.js';
import { examineImages } from './examine-images.js';
import type { ImageReference } from './image-argument.js';
import { imageDetails, referenceOf } from './image-details.js';
import {
  checkDistinct,
  describeGuestDisk,
  type ImageDisk,
  type NamedImage,
  nameImages,
  readImageDisk,
} from './image-disks.js';
import { checkImages, watchImages } from './image-health.js';
import { readQemuVersion } from './qemu-image.js';
import { sweepImages } from './sweep-images.js';

/**
 * Images of a guest that is off, each served by a qemu-nbd. Also what `libvirt:` falls over to when its domain is
 * shut off: see {@link ImageFrontEnd.forImages}.
 */
export class ImageFrontEnd implements FrontEnd {
  readonly kind = 'image';
  readonly #host = new LocalHost();
  readonly #options: FrontEndOptions;
  readonly #sources: readonly string[];
  readonly #images: readonly NamedImage[];
  readonly #opened = new Map<string, ImageReference>();

  /** @param images where they are known better than the sources say: by libvirt. */
  constructor(sources: readonly NamedSource[], options: FrontEndOptions, images?: readonly NamedImage[]) {
    const given = sources.map(({ disk, source }) => {
      if (source.kind !== 'image') throw new UsageError(`${source.text} is no image`);
      // Another process, somewhere else, may end what is begun here.
      return { disk, path: resolve(source.path) };
    });
    this.#options = options;
    this.#sources = given.map(({ path }) => `image:${path}`);
    this.#images = images ?? nameImages(given).map(image => ({ ...image, format: options.imageFormat }));
  }

  /** Images that somebody else names, with their formats; a base's bitmap is called as its checkpoint. */
  static forImages(images: readonly NamedImage[], options: FrontEndOptions): ImageFrontEnd {
    return new ImageFrontEnd([], options, images);
  }

  async inspect(selection: DiskSelection): Promise<Guest> {
    const { disks, skipped } = await this.#read(selection);
    const versions = { qemu: await readQemuVersion() };
    const described = disks.map(describeGuestDisk);
    return { ...this.#guest, kind: 'image', state: 'off', disks: described, skipped, versions };
  }

  async begin(request: BeginRequest): Promise<SessionRecord> {
    if (request.quiesce !== undefined) {
      throw new UsageError('--quiesce needs a running guest: this one is off');
    }
    const { disks } = await this.#read(request.selection);
    if (disks.length === 0) throw new UsageError('no image is left to be backed up');
    const [host, options, sources, guest] = [this.#host, this.#options, this.#sources, this.#guest];
    return await beginImages({ host, options, sources, guest, disks, request });
  }

  async health(record: SessionRecord): Promise<void> {
    this.#learn(record);
    await checkImages(record);
  }

  watch(record: SessionRecord, onTrouble: (error: Error) => void): Disposable {
    return watchImages(record, onTrouble);
  }

  async end(record: SessionRecord, outcome: 'commit' | 'abort'): Promise<readonly Action[]> {
    this.#learn(record);
    return await endImages(this.#host, record, outcome);
  }

  async dropCheckpoints(names: readonly string[]): Promise<readonly Action[]> {
    if (names.length === 0) return [];
    const { disks } = await this.#read({});
    return await removeBitmaps(
      disks.map(({ reference }) => reference),
      names,
    );
  }

  async listCheckpoints(): Promise<readonly string[]> {
    const { disks } = await this.#read({});
    const names = new Set(disks.flatMap(({ info }) => info.bitmaps.map(({ name }) => name)));
    return [...names]
      .flatMap(name => parseRunName(name) ?? [])
      .sort((a, b) => a.startedAt.getTime() - b.startedAt.getTime())
      .map(({ text }) => text);
  }

  async sweep(request: SweepRequest): Promise<readonly Action[]> {
    const { disks } = await this.#read({});
    const base = this.#options.socketDir ?? (await defaultSocketBase(this.#host));
    return await sweepImages(this.#host, base, disks, request);
  }

  /** What defines the guest, nobody knows here. */
  async readFiles(): Promise<readonly GuestFile[]> {
    return [];
  }

  examine(selection: DiskSelection): AsyncIterable<Finding> {
    return examineImages(this.#host, this.#images, this.#options, selection);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#host[Symbol.asyncDispose]();
  }

  get #guest(): SessionRecord['guest'] {
    return { name: this.#images[0]!.name, id: null };
  }

  /** A session is ended by who may not know how its images were opened; its record does. */
  #learn(record: SessionRecord): void {
    for (const image of imageDetails(record).images)
      this.#opened.set(image.reference.path, referenceOf(image));
  }

  async #readOne(image: NamedImage): Promise<ImageDisk> {
    const path = await realpath(image.path).catch(() => image.path);
    const opened = this.#opened.get(path);
    const secretFile = this.#options.secretFile ?? opened?.secretFile;
    return await readImageDisk({ ...image, format: image.format ?? opened?.format }, { secretFile });
  }

  async #read(selection: DiskSelection) {
    const disks: ImageDisk[] = [];
    for (const image of this.#images) disks.push(await this.#readOne(image));
    checkDistinct(disks);
    return selectDisks({ disks, skipped: [] }, selection);
  }
}
