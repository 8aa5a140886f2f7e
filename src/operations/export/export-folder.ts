import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { TargetError } from '../../errors.js';
import { targetFailed } from '../targets/new-file.js';

/** A folder that is made beside its final place, so that what was interrupted never looks finished. */
export interface ExportFolder extends AsyncDisposable {
  /** Where to write. */
  file(name: string): string;
  /** Makes everything durable and gives the folder its name. */
  publish(): Promise<void>;
}

/** @throws TargetError TARGET_EXISTS when something is in `path` already. */
export async function openExportFolder(path: string): Promise<ExportFolder> {
  const final = resolve(path);
  await refuseFull(final);
  const partial = join(
    dirname(final),
    `.${basename(final)}.nbdelta-partial-${randomBytes(4).toString('hex')}`,
  );
  try {
    await mkdir(partial, { mode: 0o700 });
  } catch (error) {
    throw targetFailed('make folder', partial, error);
  }
  let isOurs = true;
  return {
    file: name => join(partial, name),
    async publish() {
      for (const name of await readdir(partial)) await sync(join(partial, name));
      await sync(partial);
      try {
        await rename(partial, final);
      } catch (error) {
        throw targetFailed('name', final, error);
      }
      isOurs = false;
      await sync(dirname(final));
    },
    async [Symbol.asyncDispose]() {
      if (isOurs) await rm(partial, { recursive: true, force: true });
    },
  };
}

async function refuseFull(path: string): Promise<void> {
  let names: readonly string[];
  try {
    names = await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw targetFailed('list', path, error);
  }
  if (names.length === 0) return;
  throw new TargetError('TARGET_EXISTS', `${path} is not empty: ${names.length} entries are in it`, {
    hint: 'name a missing or an empty folder',
  });
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
