import { cp } from 'node:fs/promises';
import type { BlockSource } from '#nbdelta/nbd/server/block-source.js';
import { type NbdServer, startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { TrackedDisk } from '#nbdelta/nbd/server/tracked-disk.js';
import { SeededRandom } from '../support/random.js';
import type { TempFolder } from '../support/temp-folder.js';
import { nbdeltaJson } from './nbdelta-command.js';

export const KIB = 1024;
export const MIB = 1024 * KIB;
/** No multiple of anything. */
export const SAMPLE_SIZE = 8 * MIB + 12_345;

export interface BackupJson {
  readonly machine: string;
  readonly elapsedMs: number;
  readonly point: { readonly id: string; readonly level: string; readonly checkpoint: string | null };
}

/** A guest with one disk, published by our own server: no peer program is needed. */
export class SampleGuest implements AsyncDisposable {
  readonly disk = new TrackedDisk(SAMPLE_SIZE);
  readonly #folder: TempFolder;
  readonly #random = new SeededRandom(7);
  #server: NbdServer | undefined;

  constructor(folder: TempFolder) {
    this.#folder = folder;
    this.disk.write(0, this.#random.bytes(3 * MIB));
    this.disk.addBitmap('backup-vda');
  }

  change(): void {
    this.disk.write(MIB + 777, this.#random.bytes(100_000));
    this.disk.zero(2 * MIB, 300 * KIB);
    this.disk.write(SAMPLE_SIZE - 1000, this.#random.bytes(1000));
  }

  /** Publishes the disk as it is now under the name `vda`; what was published before ends. */
  async publish(wrap: (source: BlockSource) => BlockSource = source => source): Promise<string> {
    await this.#server?.close();
    this.#server = await startNbdServer({
      exports: [{ name: 'vda', source: wrap(this.disk.snapshot()) }],
      listen: { kind: 'unix', path: this.#folder.file('guest.sock') },
    });
    return this.#server.uri('vda');
  }

  async content(): Promise<Buffer> {
    const bytes = Buffer.alloc(SAMPLE_SIZE);
    await this.disk.readInto(0, bytes);
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.close();
  }
}

/** A repository with a full and an incremental of `web1`, and what the disk held at either. */
export interface SampleRepository {
  readonly path: string;
  readonly full: string;
  readonly incremental: string;
  readonly before: Buffer;
  readonly after: Buffer;
}

export async function makeSampleRepository(folder: TempFolder): Promise<SampleRepository> {
  await using guest = new SampleGuest(folder);
  const path = folder.file('repository');
  const back = async (uri: string, ...more: readonly string[]) => {
    const args = ['backup', `vda=${uri}`, '--repo', path, '--name', 'web1', ...more];
    return (await nbdeltaJson<BackupJson>(args)).point.id;
  };
  const before = await guest.content();
  const full = await back(await guest.publish(), '--checkpoint', 'monday');
  guest.change();
  const incremental = await back(
    await guest.publish(),
    ...['--level', 'incremental', '--since', 'monday', '--checkpoint', 'tuesday'],
  );
  return { path, full, incremental, before, after: await guest.content() };
}

/** The same repository somewhere else, to be damaged. */
export async function copyRepository(
  sample: SampleRepository,
  folder: TempFolder,
): Promise<SampleRepository> {
  const path = folder.file('copy');
  await cp(sample.path, path, { recursive: true });
  return { ...sample, path };
}
