import { HypervisorError } from '../../errors.js';
import { runProgram } from '../host/run-program.js';
import { imageArgument, type OpenableImage, secretArguments } from './image-argument.js';
import { type ImageInfo, parseImageInfo } from './image-info.js';
import { qemuFailure } from './qemu-failure.js';

/** QEMU 5.1 has `qemu-img bitmap`. */
const NEEDED = [5, 1] as const;
/** Killed in the middle, qemu-img leaves every bitmap of the image inconsistent: it gets all the time that it wants. */
const BITMAP_TIMEOUT_MS = 3_600_000;

/** What an image says of itself, also while somebody has it open. `format` `undefined`: QEMU guesses. */
export async function readImageInfo(
  place: Pick<OpenableImage, 'path' | 'isDevice'>,
  format: string | undefined,
): Promise<ImageInfo> {
  const { path } = place;
  const argument = format === undefined ? path : imageArgument({ ...place, format, isEncrypted: false });
  return parseImageInfo(await qemuImg(path, argument, ['info', '--output=json', '-U']), path);
}

/** The same of an image that nobody writes to: its bitmaps are as they will stay. @throws HypervisorError IMAGE_IN_USE. */
export async function readSettledInfo(image: OpenableImage): Promise<ImageInfo> {
  const argument = imageArgument({ ...image, isEncrypted: false });
  return parseImageInfo(await qemuImg(image.path, argument, ['info', '--output=json']), image.path);
}

/** @throws HypervisorError when an image of the backing chain cannot be opened. */
export async function checkBackingChain(image: OpenableImage): Promise<void> {
  const argument = imageArgument({ ...image, isEncrypted: false });
  await qemuImg(image.path, argument, ['info', '--output=json', '-U', '--backing-chain']);
}

/** @throws HypervisorError when the secret does not unlock the image. */
export async function checkSecret(image: OpenableImage, secretFile: string): Promise<void> {
  const secret = secretArguments(image, secretFile);
  const args = ['map', ...secret, '-U', '--output=json', '--max-length=512'];
  await qemuImg(image.path, imageArgument(image), args);
}

/** Adds a bitmap that records from now on, or removes one. @throws HypervisorError IMAGE_IN_USE and others. */
export async function changeBitmap(
  change: '--add' | '--remove',
  image: OpenableImage,
  name: string,
  secretFile: string | undefined,
): Promise<void> {
  const argument = imageArgument(image, 'none');
  const args = ['bitmap', ...secretArguments(image, secretFile), change];
  await qemuImg(image.path, argument, args, [name]);
}

/** Version of the installed qemu-img. @throws NbdeltaError TOOL_MISSING; HypervisorError HYPERVISOR_TOO_OLD. */
export async function requireQemuImg(): Promise<string> {
  const { stdout } = await runProgram('qemu-img', ['--version']);
  const version = /version (\d+\.\d+(?:\.\d+)?)/.exec(stdout.toString('utf8'))?.[1];
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number);
  if (version !== undefined && (major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]))) return version;
  throw new HypervisorError(
    'HYPERVISOR_TOO_OLD',
    `qemu-img is of version ${version ?? 'unknown'}; bitmaps of images need ${NEEDED.join('.')}`,
    { hint: 'update QEMU' },
  );
}

async function qemuImg(
  path: string,
  argument: string,
  args: readonly string[],
  more: readonly string[] = [],
): Promise<string> {
  const isChange = args[0] === 'bitmap';
  const options = isChange ? { timeoutMs: BITMAP_TIMEOUT_MS, ownSession: true } : {};
  const { code, stdout, stderr } = await runProgram('qemu-img', [...args, argument, ...more], options);
  if (code === 0) return stdout.toString('utf8');
  throw qemuFailure('qemu-img', path, argument, stderr);
}
