import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { restore } from '#nbdelta/index.js';
import { run, runOk } from './processes.js';
import { tempFolder } from './temp-folder.js';

/** The script that restores without nbdelta. */
const INDEPENDENT = new URL('../../fixtures/restore-v1.py', import.meta.url).pathname;

/** Throws, with the first byte that differs, unless two disks are the same. */
export function expectSameBytes(seen: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(seen, expected) === 0) return;
  const at = seen.findIndex((byte, index) => byte !== expected[index]);
  const where =
    at < 0 ? 'none differs, one ends before the other' : `byte ${at}: ${seen[at]}, expected ${expected[at]}`;
  throw new Error(`${what}: ${seen.length} bytes, expected ${expected.length}; ${where}`);
}

/** Restores a disk to a raw file and gives its bytes. */
export async function restoreBytes(repository: string, point: string, disk = 'vda'): Promise<Buffer> {
  await using folder = await tempFolder();
  const to = folder.file('disk.raw');
  await restore({ repository, point, disk, to });
  return await readFile(to);
}

/** The same through `-`. */
export async function restoreStream(repository: string, point: string, disk = 'vda'): Promise<Buffer> {
  await using folder = await tempFolder();
  const path = folder.file('disk.raw');
  const output = createWriteStream(path);
  await restore({ repository, point, disk, to: '-', output });
  await new Promise<void>((resolve, reject) =>
    output.end((error?: Error | null) => (error ? reject(error) : resolve())),
  );
  return await readFile(path);
}

/** The same with the independent script: tar, zstd and Python's standard library. */
export async function restoreIndependently(repository: string, point: string, disk = 'vda'): Promise<Buffer> {
  await using folder = await tempFolder();
  const to = folder.file('disk.raw');
  const [machine, id] = point.split('@');
  await runOk('python3', [INDEPENDENT, repository, machine!, id!, disk, to]);
  return await readFile(to);
}

/**
 * Restores to raw and qcow2 and has everybody compare: we the bytes, `cmp` the raw file, QEMU both images.
 */
export async function checkRestores(
  repository: string,
  point: string,
  expected: Buffer,
  disk = 'vda',
): Promise<void> {
  await using folder = await tempFolder();
  const [raw, qcow2, model] = ['disk.raw', 'disk.qcow2', 'model.raw'].map(name => folder.file(name)) as [
    string,
    string,
    string,
  ];
  await writeFile(model, expected);
  await restore({ repository, point, disk, to: raw });
  await restore({ repository, point, disk, to: qcow2 });
  expectSameBytes(await readFile(raw), expected, `${point} restored to raw`);
  await runOk('cmp', [raw, model]);
  const compared = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', model, qcow2]);
  if (compared.code !== 0)
    throw new Error(`${point} restored to qcow2: ${compared.stdout}${compared.stderr}`);
}

/** Every file below a folder with its digest: two of these are equal when nothing changed. */
export async function fileDigests(folder: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
  const digests: Record<string, string> = {};
  for (const path of paths.sort()) {
    digests[path.slice(folder.length + 1)] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  }
  return digests;
}

/** The code of the error that `work` ends with; `'no error'` when there is none. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as { code?: string }).code ?? `no code: ${String(error)}`;
  }
  return 'no error';
}
