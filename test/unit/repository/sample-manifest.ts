import { createHash } from 'node:crypto';
import type { ManifestInput, Point } from '#nbdelta/repository/manifest.js';
import { decodeManifest, encodeManifest, manifestDigest } from '#nbdelta/repository/manifest.js';

type StoredInput = Extract<ManifestInput['disks'][number], { status: 'stored' }>;
type Level = ManifestInput['level'];

/** An archive id that follows from a short name: 32 hex digits. */
export function sampleArchiveId(name: string): string {
  return createHash('md5').update(name).digest('hex');
}

/** A point id whose time and random part follow from a small number. */
export function sampleId(number: number): string {
  const time = new Date(Date.UTC(2026, 10, 1) + number * 3_600_000).toISOString().replace(/[-:]/g, '');
  return `${time.slice(0, 15)}Z-${number.toString(16).padStart(8, '0')}`;
}

export function sampleDisk(name: string, level: Level, change: Partial<StoredInput> = {}): StoredInput {
  const isBase = level === 'full' || level === 'copy';
  return {
    name,
    source: 'nbd://host/vda',
    size: 1 << 20,
    status: 'stored',
    level,
    reason: null,
    bitmap: isBase ? null : 'backup-0',
    readBytes: 4096,
    archive: {
      archiveId: sampleArchiveId('archive-1'),
      parentArchiveId: isBase ? null : sampleArchiveId('archive-0'),
      codec: 'zstd',
      frameSize: 1 << 20,
      volumes: [{ name: `${name}.0001.tar`, bytes: 3 }],
      index: { volume: 1, offset: 1, storedLength: 2, rawLength: 8, sha256: 'ab'.repeat(32) },
      frames: 1,
      extents: 1,
      dataBytes: 4096,
      zeroBytes: 0,
      storedBytes: 3,
    },
    ...change,
  };
}

export function failedDisk(name: string, level: Level = 'incremental'): ManifestInput['disks'][number] {
  const error = { code: 'NBD_TIMEOUT', message: 'no answer for 60 s' };
  return {
    name,
    source: null,
    size: 1 << 20,
    status: 'failed',
    level,
    reason: null,
    bitmap: null,
    readBytes: 0,
    error,
  };
}

export function sampleManifest(number: number, change: Partial<ManifestInput> = {}): ManifestInput {
  const level = change.level ?? 'full';
  const created = new Date(Date.UTC(2026, 10, 1) + number * 3_600_000).toISOString();
  return {
    format: 'nbdelta-point',
    version: 1,
    features: [],
    id: sampleId(number),
    sequence: number,
    machine: { name: 'web1', id: null },
    created,
    level,
    reason: null,
    parent: null,
    since: { kind: 'none', label: null, point: null },
    checkpoint: `check-${number}`,
    partial: false,
    replaces: [],
    standsFor: [],
    disks: [sampleDisk('vda', level)],
    files: [],
    statistics: {
      startedAt: created,
      finishedAt: created,
      readBytes: 4096,
      storedBytes: 3,
      dataBytes: 4096,
      zeroBytes: 0,
    },
    warnings: [],
    software: { name: 'nbdelta', version: '0.1.0' },
    ...change,
  };
}

/** As if it had been written and read again. */
export function samplePoint(manifest: ManifestInput): Point {
  const bytes = encodeManifest(manifest);
  return { manifest: decodeManifest(bytes), sha256: manifestDigest(bytes) };
}

/**
 * Point `number` with the disks of `disks` (default `vda`), on `parent` or without one. A disk's archive is
 * called after the disk and the number, and builds on the parent's archive of that disk.
 */
export function chainPoint(
  number: number,
  parent: Point | null,
  options: { level?: Level; disks?: readonly string[]; change?: Partial<ManifestInput> } = {},
): Point {
  const level = options.level ?? (parent === null ? 'full' : 'incremental');
  const disks = (options.disks ?? ['vda']).map(name => chainDisk(number, name, level, parent));
  const link = parent === null ? null : { id: parent.manifest.id, manifestSha256: parent.sha256 };
  return samplePoint(sampleManifest(number, { level, parent: link, disks, ...options.change }));
}

function chainDisk(number: number, name: string, level: Level, parent: Point | null): StoredInput {
  const before = parent?.manifest.disks.find(disk => disk.name === name);
  const base = before?.status === 'stored' ? before.archive.archiveId : null;
  const disk = sampleDisk(name, base === null && level !== 'copy' ? 'full' : level);
  return {
    ...disk,
    archive: { ...disk.archive, archiveId: sampleArchiveId(`${name}-${number}`), parentArchiveId: base },
  };
}
