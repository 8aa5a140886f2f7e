import { writeFile } from 'node:fs/promises';
import { DiskModel, type DiskOperation } from './disk-model.js';
import { addBitmap, createQcow2, qemuIoOnImage } from './qcow2-image.js';
import { startQemuNbd } from './qemu-nbd.js';
import type { TempFolder } from './temp-folder.js';

export interface Qcow2GuestOptions {
  readonly name?: string;
  /** Bytes; a multiple of 512, because qcow2 knows no others. */
  readonly size: number;
  readonly seed: number;
}

/** A disk that a guest wrote to while nobody has it open, and what is in it. */
export class Qcow2Guest {
  readonly image: string;
  readonly model: DiskModel;
  readonly #patternFile: string;

  private constructor(image: string, patternFile: string, model: DiskModel) {
    this.image = image;
    this.#patternFile = patternFile;
    this.model = model;
  }

  static async create(folder: TempFolder, options: Qcow2GuestOptions): Promise<Qcow2Guest> {
    const name = options.name ?? 'vda';
    const guest = new Qcow2Guest(
      folder.file(`${name}.qcow2`),
      folder.file(`${name}.pattern`),
      new DiskModel(options),
    );
    await writeFile(guest.#patternFile, guest.model.pattern);
    await createQcow2(guest.image, options.size);
    return guest;
  }

  /** A copy of what the disk holds now. */
  get content(): Buffer {
    return Buffer.from(this.model.content);
  }

  /** Applies operations to the model and to the image. */
  async run(...operations: readonly DiskOperation[]): Promise<void> {
    for (const operation of operations) this.model.apply(operation);
    await this.#runOnImage(operations);
  }

  async runRandom(count: number): Promise<void> {
    await this.#runOnImage(this.model.randomOperations(count));
  }

  #runOnImage(operations: readonly DiskOperation[]): Promise<void> {
    const commands = operations.map(operation => DiskModel.commandOf(operation, this.#patternFile));
    return qemuIoOnImage(this.image, commands);
  }

  /** Starts a persistent bitmap that records from now on. */
  addBitmap(name: string, granularity?: number): Promise<void> {
    return addBitmap(this.image, name, granularity);
  }

  /** Serves the disk and its bitmaps read-only with qemu-nbd, as long as `work` runs. */
  async served<Result>(bitmaps: readonly string[], work: (uri: string) => Promise<Result>): Promise<Result> {
    await using server = await startQemuNbd({ image: this.image, format: 'qcow2', bitmaps });
    return await work(server.uri);
  }
}
