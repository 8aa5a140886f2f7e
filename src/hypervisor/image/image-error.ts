import { type ErrorCode, HypervisorError, type NbdeltaError, UsageError } from '../../errors.js';
import { type ImageReference, imageArgument } from './image-argument.js';

interface Meaning {
  readonly said: RegExp;
  readonly code: ErrorCode;
  readonly text: (path: string, said: string) => string;
  readonly hint: string;
}

/** What QEMU's programs say, in the C locale, without the names of files; the first that fits counts. */
const MEANINGS: readonly Meaning[] = [
  {
    // `Failed to get "write" lock`, `Failed to get shared "write" lock`: since 2.10.
    said: /Failed to get (shared )?"[^"]*" lock/,
    code: 'IMAGE_IN_USE',
    text: path => `${path} is in use by another process`,
    hint: 'is its guest running? then back it up through libvirt:DOMAIN or qmp:SOCKET; `nbdelta session list` shows sessions',
  },
  {
    said: /Invalid password|cannot unlock any keyslot/,
    code: 'HYPERVISOR_DENIED',
    text: path => `the secret does not unlock ${path}`,
    hint: 'the file of --secret holds the passphrase and nothing else: a newline at its end counts',
  },
  {
    said: /Could not open backing file.*key-secret/,
    code: 'HYPERVISOR_DENIED',
    text: path => `the image that ${path} is based on is encrypted, which nbdelta cannot read yet`,
    hint: 'merge it into one image with qemu-img convert',
  },
  {
    said: /key-secret|No secret with id/,
    code: 'HYPERVISOR_DENIED',
    text: path => `${path} is encrypted`,
    hint: 'give the file with its passphrase with --secret',
  },
  {
    said: /^Unable to read|secret/i,
    code: 'HYPERVISOR_DENIED',
    text: (path, said) => `the secret of ${path} cannot be used: ${said}`,
    hint: 'give the file with its passphrase with --secret',
  },
  {
    said: /Could not open backing file|Could not open the backing file/,
    code: 'GUEST_STATE',
    text: (path, said) => `what ${path} is based on cannot be opened: ${said}`,
    hint: 'bring it back, or correct its place with qemu-img rebase -u',
  },
  {
    said: /Permission denied|Operation not permitted|Read-only file system/,
    code: 'HYPERVISOR_DENIED',
    text: (path, said) => `no permission for ${path}: ${said}`,
    hint: 'run as root, or as a user who may read and write the image; --level copy only reads it',
  },
  {
    said: /No such file/,
    code: 'GUEST_UNKNOWN',
    text: (path, said) => `there is no image ${path}: ${said}`,
    hint: 'check the path',
  },
  {
    said: /Image is not in \S+ format|not a valid|invalid VMDK|signature/i,
    code: 'GUEST_UNKNOWN',
    text: (path, said) => `${path} is no such image: ${said}`,
    hint: 'its name, or --image-format, says another format than it has; name the right one with --image-format',
  },
];

/** What a failed qemu-img or qemu-nbd means. @param what it should have done. */
export function imageError(
  image: Pick<ImageReference, 'path'> & Partial<ImageReference>,
  what: string,
  stderr: string,
): NbdeltaError {
  const { path } = image;
  const said = readable(image, stderr);
  const driver = /Unknown driver '([^']*)'/.exec(said)?.[1];
  if (driver !== undefined && driver !== 'blkdebug') {
    return new UsageError(`QEMU knows no image format ${driver}`, { hint: 'see qemu-img --help' });
  }
  const bare = withoutNames(said, path);
  const meaning = MEANINGS.find(each => each.said.test(bare));
  if (meaning === undefined) {
    const text = `cannot ${what} ${path}: ${said || 'it does not say why'}`;
    const hint = 'qemu-img check says whether the image is sound';
    return new HypervisorError('HYPERVISOR_FAILED', text, { hint, fields: { image: path } });
  }
  const { code, text, hint } = meaning;
  return new HypervisorError(code, text(path, said), {
    hint,
    cause: new Error(said),
    fields: { image: path },
  });
}

/** Its words with the image's path where it repeats its argument. */
function readable({ path, ...rest }: Parameters<typeof imageError>[0], stderr: string): string {
  let said = stderr.replace(/^qemu-(img|nbd): /, '');
  if (rest.format === undefined) return said;
  const image: ImageReference = {
    ...{ path, format: rest.format, isDevice: rest.isDevice ?? false },
    ...{ isEncrypted: rest.isEncrypted ?? false, secretFile: rest.secretFile },
  };
  for (const purpose of ['reading', 'bitmaps'] as const) {
    said = said.replaceAll(imageArgument(image, purpose), path);
  }
  return said;
}

/** A folder may be called `secret`, or worse: names are no words of QEMU's. */
function withoutNames(said: string, path: string): string {
  return said
    .replaceAll(path, '')
    .replace(/'[^']*\/[^']*'/g, '')
    .replace(/“[^”]*”/g, '');
}
