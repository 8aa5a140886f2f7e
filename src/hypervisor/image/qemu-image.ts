import { HypervisorError, NbdeltaError } from '../../errors.js';
import { type ProgramResult, runProgram } from '../host/run-program.js';
import { type ImageReference, imageArguments } from './image-argument.js';
import { imageError } from './image-error.js';
import { type ImageInfo, parseImageInfo } from './image-info.js';

/** Bitmaps of large images on slow disks are read and written back as a whole. */
const LONGEST_MS = 10 * 60_000;

/**
 * Looks at an image, also while it is in use. The format is what is given, or what the file looks like.
 * @throws HypervisorError GUEST_UNKNOWN, HYPERVISOR_DENIED, HYPERVISOR_FAILED; UsageError for an unknown format.
 */
export async function readImageInfo(path: string, format?: string): Promise<ImageInfo> {
  const args = ['--output=json', '-U', ...(format === undefined ? [] : ['-f', format]), path];
  const result = await qemuImg('info', args);
  if (result.code !== 0) throw imageError({ path }, 'look at', result.stderr);
  return parseImageInfo(result.stdout.toString('utf8'), path);
}

/** Adds a bitmap that records from the next time that the image is opened for writing. @throws HypervisorError. */
export async function addBitmap(image: ImageReference, name: string): Promise<void> {
  const result = await qemuImg('bitmap', ['--add', ...imageArguments(image, 'bitmaps'), name]);
  if (result.code === 0) return;
  if (/already exists/i.test(result.stderr)) {
    throw new HypervisorError('JOB_CONFLICT', `${image.path} has a bitmap ${name} already`);
  }
  throw imageError(image, 'add a bitmap to', result.stderr);
}

/** Removes a bitmap; whether it was there. @throws HypervisorError IMAGE_IN_USE and others. */
export async function removeBitmap(image: ImageReference, name: string): Promise<boolean> {
  const result = await qemuImg('bitmap', ['--remove', ...imageArguments(image, 'bitmaps'), name]);
  if (result.code === 0) return true;
  if (/Dirty bitmap .* not found/.test(result.stderr)) return false;
  throw imageError(image, 'remove a bitmap of', result.stderr);
}

/**
 * Whether the image could be read now: opens it as a backup does, with what is behind it, its key and QEMU's lock.
 * @throws HypervisorError IMAGE_IN_USE; HYPERVISOR_DENIED when its key does not fit.
 */
export async function checkReadable(image: ImageReference): Promise<void> {
  // `info` would not try the key.
  const range = ['--output=json', '--start-offset=0', '--max-length=512'];
  const result = await qemuImg('map', [...range, ...imageArguments(image, 'reading')]);
  if (result.code !== 0) throw imageError(image, 'open', result.stderr);
}

/** The version of the tools, e.g. `7.2.22`. @throws NbdeltaError TOOL_MISSING. */
export async function readQemuVersion(): Promise<string> {
  const { code, stdout, stderr } = await qemuImg('--version', []);
  const version = /version (\d+(?:\.\d+)*)/.exec(stdout.toString('utf8'))?.[1];
  if (version !== undefined) return version;
  throw new NbdeltaError('TOOL_MISSING', `qemu-img --version ended with ${code}: ${stderr}`, {
    hint: 'is it the one of qemu-utils?',
  });
}

/**
 * Never ended half-way, neither by Ctrl-C nor by an abort: opened for writing, all bitmaps of an image are marked as in
 * use, and whoever is killed then leaves them inconsistent, those of committed points as well.
 */
async function qemuImg(command: string, args: readonly string[]): Promise<ProgramResult> {
  return await runProgram('qemu-img', [command, ...args], { detached: true, timeoutMs: LONGEST_MS });
}
