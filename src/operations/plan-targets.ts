import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RepositoryError, TargetError, UsageError } from '../errors.js';
import type { Manifest } from '../repository/manifest.js';
import { isNbdUri, type TargetFormat } from './open-target.js';
import { targetFailed } from './targets/new-file.js';

/** Where the disks of a point go. */
export interface TargetPlan {
  /** The folder that gets one file for each disk, if that is what was asked for. */
  readonly folder: { readonly path: string; readonly exists: boolean } | undefined;
  readonly targets: readonly { readonly disk: string; readonly path: string }[];
}

export interface TargetRequest {
  readonly to: string;
  readonly disk?: string | undefined;
  readonly format?: TargetFormat | undefined;
  readonly keepFormats?: boolean | undefined;
}

const WRITTEN_IMAGE = /\.(qcow2|raw|img)$/i;
/** Formats that we do not write: raw content under such a name is taken for a broken image by whoever gets it. */
const FOREIGN_IMAGE = /\.(vmdk|vdi|vhdx?|vpc|qed)$/i;

/** Decides what is written where. Looks at the target, touches nothing. @throws UsageError, TargetError. */
export async function planTargets(request: TargetRequest, point: Manifest): Promise<TargetPlan> {
  const { to, disk } = request;
  if (to === '') throw new UsageError('restore to what? --to is empty');
  if (disk !== undefined) {
    checkFormat(request);
    return { folder: undefined, targets: [{ disk, path: to }] };
  }
  const stored = storedDisks(point);
  if (to !== '-' && !isNbdUri(to)) return planFolder(request, point, stored);
  if (stored.length === 1) return { folder: undefined, targets: [{ disk: stored[0]!, path: to }] };
  throw new UsageError(`${to} takes one disk, the point has ${stored.length}`, { hint: sayWhich(stored) });
}

/** All disks of the point; a partial point has none to leave out silently. */
function storedDisks(point: Manifest): string[] {
  const names = point.disks.map(disk => disk.name);
  const failed = point.disks.find(disk => disk.status === 'failed');
  if (failed?.status !== 'failed') return names;
  const stored = point.disks.filter(disk => disk.status === 'stored').map(disk => disk.name);
  const why = `${failed.error.message} (${failed.error.code})`;
  throw new RepositoryError(
    'DISK_UNKNOWN',
    `disk ${failed.name} is not in point ${point.id}: it failed: ${why}`,
    {
      hint: `restore what is stored, one at a time, with ${listOptions(stored)}; or use another point`,
      fields: { point: point.id, disk: failed.name, disks: stored },
    },
  );
}

async function planFolder(
  request: TargetRequest,
  point: Manifest,
  disks: readonly string[],
): Promise<TargetPlan> {
  const { to } = request;
  const found = await look(to);
  if (found && !found.isDirectory()) throw notAFolder(to, found, disks);
  if (!found && (WRITTEN_IMAGE.test(to) || FOREIGN_IMAGE.test(to))) {
    throw new UsageError(`${to} is a name for a disk image, but without --disk the target is a folder`, {
      hint: `${listOptions(disks)}, or name a folder`,
    });
  }
  const targets = disks.map(disk => ({
    disk,
    path: join(to, `${disk}.${formatOf(disk, request, point)}`),
  }));
  return { folder: { path: to, exists: found !== undefined }, targets };
}

function formatOf(disk: string, { format, keepFormats }: TargetRequest, point: Manifest): TargetFormat {
  if (format !== undefined || !keepFormats) return format ?? 'raw';
  return point.disks.find(({ name }) => name === disk)?.format === 'raw' ? 'raw' : 'qcow2';
}

function notAFolder(to: string, found: Stats, disks: readonly string[]): TargetError {
  const kind = found.isFile() ? 'a file' : found.isBlockDevice() ? 'a block device' : 'no folder';
  return new TargetError('TARGET_EXISTS', `${to} is ${kind}; without --disk the target is a folder`, {
    hint: `${listOptions(disks)}, or name a folder`,
    fields: { target: to },
  });
}

function checkFormat({ to, format }: TargetRequest): void {
  const ending = isNbdUri(to) ? undefined : FOREIGN_IMAGE.exec(to)?.[0];
  if (ending === undefined || format !== undefined) return;
  throw new UsageError(`${to}: only raw and qcow2 are written, not ${ending.slice(1).toLowerCase()}`, {
    hint: 'restore to .qcow2 or .raw and convert it with qemu-img; --format raw writes raw content under any name',
  });
}

function sayWhich(disks: readonly string[]): string {
  return `say which: ${listOptions(disks)}`;
}

function listOptions(disks: readonly string[]): string {
  return disks.map(disk => `--disk ${disk}`).join(' | ');
}

async function look(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw targetFailed('look at', path, cause);
  }
}
