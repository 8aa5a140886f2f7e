import { type CodecSpec, parseCodec } from '../codec/codec-spec.js';
import { UsageError } from '../errors.js';
import { type NbdUri, parseNbdUri } from '../nbd/protocol/uri.js';
import type { Manifest, PointLevel, Reason } from '../repository/manifest.js';
import type { Repository } from '../repository/repository.js';
import type { ProgressListener } from './progress.js';
import { MIN_RATE } from './read-pace.js';

/** A disk to back up. */
export interface BackupDisk {
  /** Its name in the point, e.g. `vda`. */
  readonly name: string;
  /** The export that publishes the disk's point in time. */
  readonly uri: string | NbdUri;
  /** Dirty bitmap with its changes; default `backup-NAME`, which is what libvirt calls it. */
  readonly bitmap?: string | undefined;
  /** Why there is no bitmap to ask for: the disk is compared with the point before, and the point says so. */
  readonly noBitmap?: Reason | undefined;
  /** What stays the same of it from one backup to the next; default: host and export of the URI. */
  readonly source?: string | undefined;
  /** Format of the image that it comes from, e.g. `qcow2`. */
  readonly format?: string | undefined;
  /** Its bitmap is not believed when its size changed: it forgets what was cut off, also when the disk grew again. */
  readonly distrustIfResized?: boolean | undefined;
}

/** A small file that is kept with the point. */
export interface BackupFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Where a backup is; each is reached once, in this order, unless the run ends before. */
export type BackupStep =
  | 'job-begun'
  | 'mapped'
  | 'stored'
  | 'committed'
  | 'job-ended'
  | 'checkpoints-dropped';

export interface BackupOptions {
  /** Where the repository is, or an open one. A new one is made in an empty or missing folder. */
  readonly repository: string | Repository;
  /** Name of the guest in the repository. */
  readonly machine: string;
  /** What must not change about the guest, e.g. the domain's uuid. */
  readonly machineId?: string | undefined;
  readonly disks: readonly BackupDisk[];
  /** Default `auto`: incremental, by bitmap or by comparison (a rescan), else full, with the reason. */
  readonly level?: PointLevel | 'auto' | undefined;
  /**
   * With `auto` and `incremental`: read all disks, compare them with the newest point, and store what differs, whatever
   * the bitmaps say.
   */
  readonly rescan?: boolean | undefined;
  /** What the bitmap records since: the label or id of a point, or `latest`. */
  readonly since?: string | undefined;
  /** Label of the checkpoint that the new point stands for; a later `since` names it. */
  readonly checkpoint?: string | undefined;
  readonly fullEvery?: number | undefined;
  readonly maxChain?: number | undefined;
  /** `zstd:1` (default) to `zstd:19`, or `none`. */
  readonly codec?: string | undefined;
  /** Raw bytes of a frame; default 1 MiB. */
  readonly frameSize?: number | undefined;
  /** Commit the point even when a disk failed; it gets a full next time. */
  readonly allowPartial?: boolean | undefined;
  /** Codec threads; default what the machine has. */
  readonly threads?: number | undefined;
  /** Connections for each disk; default 4. */
  readonly connections?: number | undefined;
  /** Largest single read that is sent to the server. Bytes, at least 4096; default 1 MiB. */
  readonly requestBytes?: number | undefined;
  /** Bytes of reads under way for each disk, at least 4096; default: 2 MiB, and more where that reads faster. */
  readonly windowBytes?: number | undefined;
  /** Bytes per second that are read from the disks at most; default: as fast as it goes. At least 64 KiB. */
  readonly rate?: number | undefined;
  readonly timeoutMs?: number | undefined;
  readonly retries?: number | undefined;
  /**
   * Asked after the last byte of the last disk and before the commit: is the job still the same, and healthy?
   * A rejection discards the point.
   */
  readonly confirm?: (() => Promise<void>) | undefined;
  /** What defines the guest, for the manifest. */
  readonly guest?: Manifest['guest'] | undefined;
  /** Files to keep with the point; asked for after the disks are stored. */
  readonly files?: (() => Promise<readonly BackupFile[]>) | undefined;
  /** Notices that belong into the manifest. */
  readonly warnings?: Manifest['warnings'] | undefined;
  readonly onStep?: ((step: BackupStep) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** Largest frame that the archive format can hold, and the smallest that makes sense. Bytes. */
const FRAME_SIZES = { minimum: 1 << 16, maximum: 1 << 22 };

export interface CheckedDisk {
  readonly name: string;
  readonly uri: NbdUri;
  readonly bitmap: string;
  /** Whether the caller named the bitmap. */
  readonly bitmapNamed: boolean;
  readonly noBitmap: Reason | undefined;
  readonly source: string | undefined;
  readonly format: string | undefined;
  readonly distrustIfResized: boolean;
}

export interface CheckedOptions extends Omit<BackupOptions, 'disks' | 'codec' | 'frameSize' | 'level'> {
  readonly disks: readonly CheckedDisk[];
  readonly codec: CodecSpec;
  readonly frameSize: number;
  readonly level: PointLevel | 'auto';
}

/** Checks everything that can be checked before anything is touched. @throws UsageError */
export function checkBackupOptions(options: BackupOptions): CheckedOptions {
  if (options.disks.length === 0) throw new UsageError('a backup needs at least one disk');
  const names = options.disks.map(disk => disk.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new UsageError(`two disks are called "${twice}"`, { hint: 'name them: vda=URI vdb=URI' });
  }
  checkRescan(options);
  checkRate(options.rate);
  checkTransfer('request size', options.requestBytes);
  checkTransfer('read-ahead', options.windowBytes);
  for (const key of ['fullEvery', 'maxChain'] as const) checkCount(key, options[key]);
  const frameSize = options.frameSize ?? 1 << 20;
  const sane = Number.isInteger(Math.log2(frameSize));
  if (!sane || frameSize < FRAME_SIZES.minimum || frameSize > FRAME_SIZES.maximum) {
    throw new UsageError(`frame size ${frameSize} is not a power of two from 64 KiB to 4 MiB`);
  }
  return {
    ...options,
    disks: options.disks.map(checkDisk),
    codec: parseCodec(options.codec ?? 'zstd:1'),
    frameSize,
    level: options.level ?? 'auto',
  };
}

const DISK_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

function checkDisk(disk: BackupDisk): CheckedDisk {
  if (!DISK_NAME.test(disk.name)) {
    throw new UsageError(`"${disk.name}" cannot be a disk's name`, {
      hint: 'use letters, digits, ".", "_" and "-", at most 64',
    });
  }
  return {
    name: disk.name,
    uri: typeof disk.uri === 'string' ? parseNbdUri(disk.uri) : disk.uri,
    bitmap: disk.bitmap ?? `backup-${disk.name}`,
    bitmapNamed: disk.bitmap !== undefined,
    noBitmap: disk.noBitmap,
    source: disk.source,
    format: disk.format,
    distrustIfResized: disk.distrustIfResized ?? false,
  };
}

function checkRescan({ rescan, level = 'auto', since }: BackupOptions): void {
  if (rescan !== true) return;
  if (level !== 'auto' && level !== 'incremental') {
    throw new UsageError(`a rescan is an incremental, not a ${level}`, {
      hint: 'leave one of the two out; a full reads and stores everything',
    });
  }
  if (since === undefined) return;
  throw new UsageError('a rescan takes no since: it compares with the newest point', {
    hint: 'since says what a bitmap records; leave it out',
  });
}

function checkRate(rate: number | undefined): void {
  if (rate === undefined || (Number.isFinite(rate) && rate >= MIN_RATE)) return;
  throw new UsageError(`a rate of ${rate} bytes per second, expected at least ${MIN_RATE}`, {
    hint: 'slower, a disk takes days, and the guest must hold its point in time all that while',
  });
}

/** Smallest request that makes sense: a disk in single bytes would take for ever. */
const MIN_TRANSFER = 4096;

function checkTransfer(name: string, bytes: number | undefined): void {
  if (bytes === undefined || (Number.isInteger(bytes) && bytes >= MIN_TRANSFER)) return;
  throw new UsageError(`a ${name} of ${bytes} bytes, expected at least ${MIN_TRANSFER}`);
}

function checkCount(name: string, value: number | undefined): void {
  if (value !== undefined && (!Number.isInteger(value) || value < 1)) {
    throw new UsageError(`${name} is ${value}, expected a whole number of at least 1`);
  }
}
