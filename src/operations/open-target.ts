import { stat } from 'node:fs/promises';
import { TargetError, UsageError } from '../errors.js';
import { openDeviceTarget } from './targets/device-target.js';
import { openFileTarget } from './targets/file-target.js';
import { openNbdTarget } from './targets/nbd-target.js';
import { targetFailed } from './targets/new-file.js';
import { openQcow2Target } from './targets/qcow2-target.js';
import type { RestoreTarget } from './targets/restore-target.js';

export type TargetFormat = 'raw' | 'qcow2';

export interface TargetOptions {
  /** Default: qcow2 for a path that ends in `.qcow2`, else raw. */
  readonly format?: TargetFormat | undefined;
  /** Replace an existing file; overwrite a device. */
  readonly force: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Whether a target is an NBD URI. */
export function isNbdUri(target: string): boolean {
  return /^nbds?(\+unix)?:\/\//i.test(target);
}

/** Opens what a disk is restored to: an NBD URI, a block device, or a new file. */
export async function openTarget(
  target: string,
  size: number,
  options: TargetOptions,
): Promise<RestoreTarget> {
  if (isNbdUri(target)) {
    if (options.format === 'qcow2') {
      throw new UsageError('an NBD target takes raw content; its server knows the format');
    }
    return openNbdTarget(target, size, { zeroed: false, signal: options.signal });
  }
  const found = await look(target);
  if (found?.isBlockDevice()) return openDevice(target, size, options);
  if (found && !found.isFile()) {
    throw new TargetError('TARGET_INVALID', `${target} is neither a file nor a block device`, {
      hint: found.isDirectory() ? 'name a file in it, or leave --disk out to restore all disks into it' : '',
    });
  }
  const format = options.format ?? (target.endsWith('.qcow2') ? 'qcow2' : 'raw');
  if (format === 'qcow2') return openQcow2Target(target, size, options.force, options.signal);
  return openFileTarget(target, size, options.force);
}

function openDevice(path: string, size: number, options: TargetOptions): Promise<RestoreTarget> {
  if (options.format === 'qcow2') throw new UsageError('a block device takes raw content');
  if (!options.force) {
    throw new TargetError('TARGET_EXISTS', `${path} is a block device: restoring overwrites all of it`, {
      hint: 'say --force if that is what you want',
      fields: { target: path },
    });
  }
  return openDeviceTarget(path, size);
}

async function look(path: string) {
  try {
    return await stat(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw targetFailed('look at', path, cause);
  }
}
