import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { type Pack, pack } from 'tar-stream';
import { AbortedError } from '../../errors.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { Point } from '../../repository/manifest.js';
import { MANIFEST_DIGEST_NAME, MANIFEST_NAME } from '../../repository/manifest.js';
import type { Repository } from '../../repository/repository.js';
import { packageFile } from '../package-file.js';
import type { ProgressListener } from '../progress.js';

/** The script that restores with Python's standard library, tar and zstd. */
const SCRIPT = 'fixtures/restore-v1.py';
const FORMAT = 'docs/format/archive-v1.md';
const PIECE = 1 << 20;

export interface ExportTarOptions {
  readonly repository: Repository;
  readonly machine: MachineStore;
  /** The point and everything that it builds on, oldest first. */
  readonly points: readonly Point[];
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/**
 * One tar with a small repository of just these points, as they are, the format's description, and a script that restores from it with
 * tar, zstd and Python alone.
 */
export async function exportTar(options: ExportTarOptions): Promise<void> {
  const archive = pack();
  const written = pipeline(archive, createWriteStream(options.path, { mode: 0o600 }));
  // Whoever awaits it gets the error.
  written.catch(() => undefined);
  try {
    await addEverything(archive, options);
    archive.finalize();
  } catch (error) {
    archive.destroy(error as Error);
    await written.catch(() => undefined);
    throw error;
  }
  await written;
}

async function addEverything(archive: Pack, options: ExportTarOptions): Promise<void> {
  const { repository, machine, points } = options;
  const newest = points[points.length - 1]!.manifest;
  await addFile(archive, 'README.txt', Buffer.from(readme(machine.name, newest.id, newest.disks[0]!.name)));
  await addFile(archive, 'restore-v1.py', await readFile(packageFile(SCRIPT)));
  await addFile(archive, 'archive-v1.md', await readFile(packageFile(FORMAT)));
  const description = { ...repository.description };
  await addFile(archive, 'repository/nbdelta-repository.json', json(description));
  const record = await machine.readRecord();
  const { newest: _, removing: __, ...kept } = record ?? {};
  await addFile(archive, `repository/${machine.name}/machine.json`, json({ ...kept, newest: null }));
  const total = points.reduce((sum, { manifest }) => sum + manifest.statistics.storedBytes, 0);
  let done = 0;
  for (const point of points) {
    await addPoint(archive, point, options, bytes => {
      done += bytes;
      options.onProgress?.({ phase: 'data', disk: 'tar', done: Math.min(done, total), total });
    });
  }
}

async function addPoint(
  archive: Pack,
  point: Point,
  { machine, signal }: ExportTarOptions,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const { id, disks, files } = point.manifest;
  const folder = `repository/${machine.name}/${id}`;
  for (const disk of disks) {
    for (const { name } of disk.status === 'stored' ? disk.archive.volumes : []) {
      await addVolume(archive, `${folder}/${name}`, { machine, id, name, signal, onBytes });
    }
  }
  for (const { name } of files) {
    const bytes = await machine.readPointFile(point, name);
    if (bytes !== undefined) await addFile(archive, `${folder}/${name}`, bytes);
  }
  await addFile(
    archive,
    `${folder}/${MANIFEST_DIGEST_NAME}`,
    Buffer.from(`${point.sha256}  ${MANIFEST_NAME}\n`),
  );
  await addFile(archive, `${folder}/${MANIFEST_NAME}`, await machine.readManifestBytes(id));
}

interface VolumePlace {
  readonly machine: MachineStore;
  readonly id: string;
  readonly name: string;
  readonly signal: AbortSignal | undefined;
  readonly onBytes: (bytes: number) => void;
}

async function addVolume(
  archive: Pack,
  path: string,
  { machine, id, name, signal, onBytes }: VolumePlace,
): Promise<void> {
  const reader = await machine.openVolume(id, name);
  try {
    const sink = addEntry(archive, path, reader.size);
    for (let at = 0; at < reader.size; at += PIECE) {
      if (signal?.aborted) throw new AbortedError('export', signal.reason);
      const piece = Buffer.alloc(Math.min(PIECE, reader.size - at));
      await reader.read(at, piece);
      await sink.write(piece);
      onBytes(piece.length);
    }
    await sink.end();
  } finally {
    await reader.close();
  }
}

async function addFile(archive: Pack, path: string, bytes: Uint8Array): Promise<void> {
  const sink = addEntry(archive, path, bytes.length);
  if (bytes.length > 0) await sink.write(Buffer.from(bytes));
  await sink.end();
}

/** A member with fixed times and owner: the same points give the same bytes. */
function addEntry(archive: Pack, name: string, size: number) {
  const header = { name, size, mode: 0o644, mtime: new Date(0), uid: 0, gid: 0, type: 'file' as const };
  let finish: (error?: Error | null) => void = () => undefined;
  const ended = new Promise<void>((resolve, reject) => {
    finish = error => (error ? reject(error) : resolve());
  });
  ended.catch(() => undefined);
  const entry = archive.entry(header, error => finish(error));
  return {
    write: async (piece: Buffer) => {
      if (!entry.write(piece)) await Promise.race([once(entry, 'drain'), ended]);
    },
    end: () => {
      entry.end(Buffer.alloc(0));
      return ended;
    },
  };
}

function json(document: object): Buffer {
  return Buffer.from(`${JSON.stringify(document, null, 2)}\n`);
}

function readme(machine: string, point: string, disk: string): string {
  return `A disk of ${machine} as it was at point ${point}, and everything that this point builds on.

To get a raw image of disk ${disk}, with Python 3, tar and zstd, and nothing else:

    tar xf THIS.tar
    python3 restore-v1.py repository ${machine} ${point} ${disk} ${disk}.raw

archive-v1.md describes every byte. With nbdelta: nbdelta restore ${machine}@${point} --repo repository --to DIR
`;
}
