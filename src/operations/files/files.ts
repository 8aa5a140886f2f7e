import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { errorLine, type NbdeltaError, toNbdeltaError } from '../../errors.js';
import type { Repository } from '../../repository/repository.js';
import { AsyncStack } from '../async-stack.js';
import { type ServedPoint, serve } from '../serve.js';
import { type CopiedOut, copyOut } from './copy-out.js';
import { describeFileSystems, type FileSystem, inspect } from './file-systems.js';
import { type GuestFile, listFolder, readStatus } from './guest-entries.js';
import { checkGuestPath } from './guest-path.js';
import type { GuestfishSession } from './guestfish-session.js';
import { quoteWord } from './guestfish-words.js';
import { mountGuest } from './mount-guest.js';
import { startAppliance } from './start-appliance.js';
import { writeOutput } from './write-output.js';

export type { CopiedOut, FileSystem, GuestFile };

export interface OpenFilesOptions {
  readonly repository: string | Repository;
  /** `MACHINE[@POINT]`. */
  readonly point: string;
  /** Only this disk; without it all disks of the point, as file systems may lie across them. */
  readonly disk?: string | undefined;
  /** The one file system that paths begin at; without it those of the operating system, or the only one there is. */
  readonly device?: string | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** What is worth knowing on the way: it takes a while, a file system could not be mounted. */
  readonly onNote?: ((text: string) => void) | undefined;
}

/** The file systems of a point, open for reading. */
export interface GuestFiles extends AsyncDisposable {
  readonly machine: string;
  readonly point: string;
  /** Everything in the disks that holds files, or could. */
  fileSystems(): Promise<readonly FileSystem[]>;
  /** What is in a folder; of a file just that file. @throws RepositoryError FILE_UNKNOWN, FILE_SYSTEM_UNKNOWN. */
  list(path: string): Promise<readonly GuestFile[]>;
  /** Writes a file's content to a stream, which stays open. */
  read(path: string, output: Writable): Promise<void>;
  /** Copies a file or a folder out; see `copyOut`. */
  copy(path: string, to: string): Promise<CopiedOut>;
}

/**
 * Opens the files in a point: it is served on a private socket, and libguestfs reads its file systems in an appliance
 * of its own, so that no file system that a guest has written is ever mounted by our kernel. One command at a time.
 * @throws NbdeltaError TOOL_MISSING when libguestfs is not installed or does not start.
 */
export async function openFiles(options: OpenFilesOptions): Promise<GuestFiles> {
  await using stack = new AsyncStack();
  const folder = await mkdtemp(join(tmpdir(), 'nbdelta-'));
  stack.use({ [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) });
  const { repository, point, disk, threads, onNote } = options;
  const socket = join(folder, 's');
  const broken: NbdeltaError[] = [];
  const onError = (error: NbdeltaError) => {
    if (broken.length === 0) onNote?.(errorLine(error));
    broken.push(error);
    broken.length = 1;
  };
  const listen = { kind: 'unix', path: socket } as const;
  const served = stack.use(await serve({ repository, point, disk, threads, listen, onError }));
  onNote?.('starting libguestfs: seconds with KVM, up to a minute without');
  const disks = served.disks.map(each => each.disk);
  const session = stack.use(await startAppliance({ disks, socket, signal: options.signal, onNote }));
  return new OpenFiles({ served, session, options, broken, stack: stack.move() });
}

interface Opened {
  readonly served: ServedPoint;
  readonly session: GuestfishSession;
  readonly options: OpenFilesOptions;
  /** What went wrong on our own side of the socket, first of all. */
  readonly broken: readonly NbdeltaError[];
  readonly stack: AsyncStack;
}

class OpenFiles implements GuestFiles {
  readonly #opened: Opened;
  #mounted: Promise<void> | undefined;

  constructor(opened: Opened) {
    this.#opened = opened;
  }

  get machine(): string {
    return this.#opened.served.machine;
  }

  get point(): string {
    return this.#opened.served.point;
  }

  async fileSystems(): Promise<readonly FileSystem[]> {
    const { session, served } = this.#opened;
    const disks = served.disks.map(({ disk }) => disk);
    return await this.#try(async () => describeFileSystems(session, disks, await inspect(session)));
  }

  async list(path: string): Promise<readonly GuestFile[]> {
    return await this.#in(path, async session => {
      const status = await readStatus(session, path);
      if (status.kind === 'folder') return await listFolder(session, path);
      return [{ name: path, ...status, target: null }];
    });
  }

  async read(path: string, output: Writable): Promise<void> {
    await this.#in(path, session =>
      session.stream(['download', quoteWord(path), '/dev/stdout'], bytes =>
        writeOutput(output, bytes, this.#signal),
      ),
    );
  }

  async copy(path: string, to: string): Promise<CopiedOut> {
    return await this.#in(path, session => copyOut(session, path, to));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#opened.stack[Symbol.asyncDispose]();
  }

  get #signal(): AbortSignal | undefined {
    return this.#opened.options.signal;
  }

  async #in<Result>(path: string, work: (session: GuestfishSession) => Promise<Result>): Promise<Result> {
    checkGuestPath(path);
    const { session, options } = this.#opened;
    return await this.#try(async () => {
      this.#mounted ??= mountGuest(session, options);
      await this.#mounted;
      return await work(session);
    });
  }

  /** When our own side could not give the data, that is the reason, whatever the guest's file system made of it. */
  async #try<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      const first = this.#opened.broken[0];
      if (first && toNbdeltaError(error).code !== 'ABORTED') throw first;
      throw error;
    }
  }
}
