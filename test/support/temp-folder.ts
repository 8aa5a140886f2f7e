import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A path of a unix socket has at most 107 bytes; this much is left for a file name below the folder. */
const LONGEST_FOLDER = 67;

export interface TempFolder extends AsyncDisposable {
  /** Absolute, short, without symbolic links. */
  readonly path: string;
  /** Absolute path of something in the folder. */
  file(...names: readonly string[]): string;
}

async function makeFolder(): Promise<string> {
  const parent = await realpath(tmpdir());
  const template = join(parent, 'nbd-');
  return mkdtemp(Buffer.byteLength(template) + 6 > LONGEST_FOLDER ? '/tmp/nbd-' : template);
}

/** `await using folder = await tempFolder()`: a new empty folder, removed with its content at the end. */
export async function tempFolder(): Promise<TempFolder> {
  const path = await makeFolder();
  return {
    path,
    file: (...names) => join(path, ...names),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
