import { createWriteStream } from 'node:fs';
import { chmod, link, mkdir, symlink, utimes } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { type Extract, extract, type Header } from 'tar-stream';
import { TargetError } from '../../errors.js';
import { targetFailed } from '../targets/new-file.js';

/** What was copied. */
export interface CopiedFiles {
  readonly files: number;
  readonly folders: number;
  readonly links: number;
  /** Devices and fifos, which mean nothing outside of the guest. */
  readonly skipped: number;
  /** Of the files. */
  readonly bytes: number;
}

/** Its types do not know the option; what it does is tested. */
const BYTE_BY_BYTE: object = { filenameEncoding: 'latin1' };

/**
 * Unpacks a tar from a guest into `folder`, which is empty, ours alone and of no other use until this returns. The tar is
 * not to be trusted: it comes out of a file system that somebody else has written. So nothing is written through a
 * symbolic link: there is none before everything else is done, and every file's folder is one that was made here.
 * Modes (without set-id bits) and times are kept, owners are not.
 */
export class TarExtraction {
  readonly #folder: Buffer;
  /** Folders made here, relative to the root, as latin1: every byte is a character. */
  readonly #made = new Map<string, Header | undefined>([['', undefined]]);
  readonly #links: { readonly path: string; readonly headers: Header }[] = [];
  readonly #counts = { files: 0, folders: 0, links: 0, skipped: 0, bytes: 0 };
  readonly #tar = extract(BYTE_BY_BYTE);
  readonly #done: Promise<void>;

  constructor(folder: string) {
    this.#folder = Buffer.from(folder);
    this.#done = this.#readEntries();
    // Whoever awaits `end` gets the error.
    this.#done.catch(() => undefined);
  }

  /** Takes the next bytes of the tar. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#tar.write(bytes)) return;
    // An entry that fails takes no more bytes: its error is the one to tell.
    await Promise.race([drained(this.#tar), this.#done]);
  }

  /** @throws TargetError for what cannot be written, or must not be. */
  async end(): Promise<CopiedFiles> {
    this.#tar.end(null);
    await this.#done;
    for (const { path, headers } of this.#links.filter(each => each.headers.type === 'symlink'))
      await this.#make(path, place => symlink(bytesOf(headers, headers.linkname ?? ''), place));
    for (const { path, headers } of this.#links.filter(each => each.headers.type === 'link'))
      await this.#make(path, place => link(this.#linked(headers), place));
    for (const [path, headers] of [...this.#made].reverse())
      if (headers) await this.#finish(this.#place(path), headers);
    return this.#counts;
  }

  /** Stops in the middle. */
  async abandon(): Promise<void> {
    this.#tar.destroy(new Error('stopped'));
    await this.#done.catch(() => undefined);
  }

  async #readEntries(): Promise<void> {
    for await (const entry of this.#tar) {
      const { headers, path } = this.#describe(entry.header);
      if (headers.type === 'directory') await this.#folderAt(path, headers);
      else if (headers.type === 'file' || headers.type === 'contiguous-file') {
        await this.#fileAt(path, headers, entry);
        continue;
      } else if (headers.type === 'symlink' || headers.type === 'link') {
        await this.#folderAt(parentOf(path));
        this.#links.push({ path, headers });
        this.#counts.links++;
      } else this.#counts.skipped++;
      entry.resume();
    }
  }

  #describe(headers: Header): { readonly headers: Header; readonly path: string } {
    return { headers, path: this.#inside(headers, headers.name) };
  }

  /** `./a//b` as `a/b`; what could lead out is refused. */
  #inside(headers: Header, name: string): string {
    const parts = bytesOf(headers, name)
      .toString('latin1')
      .split('/')
      .filter(part => part !== '' && part !== '.');
    if (!parts.includes('..')) return parts.join('/');
    throw new TargetError(
      'TARGET_INVALID',
      `a name in the guest leads out of its folder: ${JSON.stringify(name)}`,
    );
  }

  /** What a hard link is to: only something in a folder that was made here, never reached through a symbolic link. */
  #linked(headers: Header): Buffer {
    const path = this.#inside(headers, headers.linkname ?? '');
    if (this.#made.has(parentOf(path))) return this.#place(path);
    throw new Error(`it is a link to ${JSON.stringify(path)}, which is not in the folder`);
  }

  #place(path: string): Buffer {
    return path === '' ? this.#folder : Buffer.concat([this.#folder, Buffer.from(`/${path}`, 'latin1')]);
  }

  /** Makes a folder and those above it, each once, and no other than by this. */
  async #folderAt(path: string, headers?: Header): Promise<void> {
    if (!this.#made.has(path)) {
      await this.#folderAt(parentOf(path));
      await this.#make(path, place => mkdir(place, 0o700));
      this.#counts.folders++;
    }
    if (headers || !this.#made.has(path)) this.#made.set(path, headers);
  }

  async #fileAt(path: string, headers: Header, content: AsyncIterable<unknown>): Promise<void> {
    await this.#folderAt(parentOf(path));
    await this.#make(path, async place => {
      await pipeline(
        content as AsyncIterable<Buffer>,
        createWriteStream(place, { flags: 'wx', mode: 0o600 }),
      );
      await this.#finish(place, headers);
    });
    this.#counts.files++;
    this.#counts.bytes += headers.size ?? 0;
  }

  async #make(path: string, work: (place: Buffer) => Promise<unknown>): Promise<void> {
    const place = this.#place(path);
    // The folder that it goes to was made here: it is no link to somewhere else.
    if (!this.#made.has(parentOf(path))) await this.#folderAt(parentOf(path));
    try {
      await work(place);
    } catch (cause) {
      throw targetFailed('write', place.toString(), cause);
    }
  }

  async #finish(place: Buffer, { mode = 0o600, mtime }: Header): Promise<void> {
    await chmod(place, mode & 0o777);
    if (mtime) await utimes(place, mtime, mtime);
  }
}

function drained(tar: Extract): Promise<void> {
  return new Promise(resolve => tar.once('drain', () => resolve()));
}

function parentOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}

/** A name's own bytes. Those of a pax header are UTF-8, the others were read byte by byte. */
function bytesOf(headers: Header, name: string): Buffer {
  const pax = headers.pax as Readonly<Record<string, string>> | null | undefined;
  const isPax = pax != null && (pax['path'] === name || pax['linkpath'] === name);
  return Buffer.from(name, isPax ? 'utf8' : 'latin1');
}
