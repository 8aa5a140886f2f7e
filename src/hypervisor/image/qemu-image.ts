import { HypervisorError } from '../../errors.js';
import { type ProgramResult, type RunOptions, runProgram } from '../host/run-program.js';
import { type ImageInfo, parseImageInfo } from './image-info.js';
import { type ImageReference, openingArguments } from './image-options.js';

/**
 * Looks at an image, also while it is in use. The format is what is given, or what the file looks like.
 * @throws HypervisorError GUEST_UNKNOWN, HYPERVISOR_DENIED, HYPERVISOR_FAILED.
 */
export async function readImageInfo(path: string, format?: string): Promise<ImageInfo> {
  const args = ['info', '--output=json', '-U', ...(format === undefined ? [] : ['-f', format]), path];
  const result = await runProgram('qemu-img', args);
  if (result.code !== 0) throw imageError(path, 'look at', result);
  return parseImageInfo(result.stdout.toString('utf8'), path);
}

/** Adds a bitmap that records from the next time that the image is opened for writing. @throws HypervisorError. */
export async function addBitmap(image: ImageReference, name: string, options: RunOptions): Promise<void> {
  const result = await runBitmap('--add', image, name, options);
  if (result.code === 0) return;
  if (/already exists/i.test(result.stderr)) {
    throw new HypervisorError(
      'JOB_CONFLICT',
      `${image.path} has a bitmap ${name} already: it was not touched`,
    );
  }
  throw imageError(image.path, 'add a bitmap to', result);
}

/** Removes a bitmap; whether it was there. @throws HypervisorError IMAGE_IN_USE and others. */
export async function removeBitmap(image: ImageReference, name: string): Promise<boolean> {
  const result = await runBitmap('--remove', image, name, {});
  if (result.code === 0) return true;
  if (/not found/i.test(result.stderr)) return false;
  throw imageError(image.path, 'remove a bitmap of', result);
}

/**
 * Whether the image could be read now: opens it as a backup does, with QEMU's own lock.
 * @throws HypervisorError IMAGE_IN_USE; HYPERVISOR_DENIED when its key does not fit.
 */
export async function checkUnused(image: ImageReference): Promise<void> {
  const result = await runProgram('qemu-img', ['info', ...openingArguments(image)]);
  if (result.code !== 0) throw imageError(image.path, 'open', result);
}

/** The version of the tools, e.g. `7.2.22`. @throws NbdeltaError TOOL_MISSING. */
export async function readQemuVersion(): Promise<string> {
  const { stdout } = await runProgram('qemu-img', ['--version']);
  return /version (\d+(?:\.\d+)*)/.exec(stdout.toString('utf8'))?.[1] ?? 'unknown';
}

async function runBitmap(
  action: '--add' | '--remove',
  image: ImageReference,
  name: string,
  options: RunOptions,
): Promise<ProgramResult> {
  const [opts, ...rest] = [...openingArguments(image)].reverse();
  // The image's options take the place of its name, the bitmap's name comes last.
  const args = ['bitmap', action, ...rest.reverse(), opts!, name];
  return await runProgram('qemu-img', args, options);
}

/** What one of QEMU's programs said of an image, as an error with a code. */
export function imageError(
  path: string,
  what: string,
  { stderr }: Pick<ProgramResult, 'stderr'>,
): HypervisorError {
  const fields = { image: path };
  const said = stderr.replace(/^qemu-(img|nbd): /, '');
  if (/Failed to get .*lock|another process using the image/i.test(said)) {
    return new HypervisorError('IMAGE_IN_USE', `${path} is in use by another process`, {
      hint: 'is its guest running? then back it up through libvirt:DOMAIN or qmp:SOCKET',
      fields,
    });
  }
  if (/No such file|requires .* to be a/i.test(said)) {
    return new HypervisorError('GUEST_UNKNOWN', `there is no image ${path}: ${said}`, {
      hint: 'check the path',
      fields,
    });
  }
  if (/Permission denied/i.test(said)) {
    return new HypervisorError('HYPERVISOR_DENIED', `cannot ${what} ${path}: ${said}`, {
      hint: 'run as root, or as a user who may read and write the image',
      fields,
    });
  }
  if (/key-secret|secret|password|passphrase|Invalid key|decrypt/i.test(said)) {
    return new HypervisorError(
      'HYPERVISOR_DENIED',
      `${path} is encrypted, and its key does not fit: ${said}`,
      {
        hint: 'give the file with its passphrase with --secret; a newline at the end of that file counts',
        fields,
      },
    );
  }
  return new HypervisorError('HYPERVISOR_FAILED', `cannot ${what} ${path}: ${said}`, { fields });
}
