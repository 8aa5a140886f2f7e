import { type ErrorCode, HypervisorError, printable } from '../../errors.js';

interface Meaning {
  readonly said: RegExp;
  readonly code: ErrorCode;
  readonly text: (path: string) => string;
  readonly hint: string;
}

/** What QEMU's programs say on stderr, in the C locale; the first that fits counts. */
const MEANINGS: readonly Meaning[] = [
  {
    // `Failed to get "write" lock`, `Failed to get shared "write" lock`, since 2.10.
    said: /Failed to get (shared )?"[^"]*" lock/,
    code: 'IMAGE_IN_USE',
    text: path => `image ${path} is open in another process`,
    hint: 'if its guest runs, back that up with libvirt:DOMAIN or qmp:SOCKET; what a dead run left, `nbdelta recover` ends',
  },
  {
    said: /Invalid password, cannot unlock any keyslot/,
    code: 'HYPERVISOR_DENIED',
    text: path => `the secret does not unlock image ${path}`,
    hint: 'the file of --secret must hold the passphrase and nothing else: a line end counts as part of it',
  },
  {
    said: /No secret with id|encrypt\.key-secret' is required|key-secret' is required/,
    code: 'HYPERVISOR_DENIED',
    text: path => `image ${path}, or one that it is based on, is encrypted and has no secret`,
    hint: 'give the passphrase with --secret FILE; encrypted images below it are not supported',
  },
  {
    said: /Bitmap already exists/,
    code: 'JOB_CONFLICT',
    text: path => `image ${path} has a bitmap of this name already`,
    hint: 'it was not touched; begin again, under a new name',
  },
  {
    said: /Permission denied|Operation not permitted|Read-only file system/,
    code: 'HYPERVISOR_DENIED',
    text: path => `no permission to open image ${path} or one that it is based on`,
    hint: "run as root or as the image's owner; a backup adds a bitmap to it, --level copy does not",
  },
];

/** What a failed qemu-img or qemu-nbd means for the image. */
export function qemuFailure(program: string, path: string, argument: string, stderr: string): HypervisorError {
  const said = printable(stderr.replaceAll(argument, path).replace(/^qemu-(img|nbd): /, '')) || 'nothing';
  const meaning = MEANINGS.find(({ said: pattern }) => pattern.test(stderr));
  if (meaning === undefined) {
    return new HypervisorError('HYPERVISOR_FAILED', `${program} failed on image ${path}: ${said}`, {
      hint: 'qemu-img check says whether the image is sound',
      fields: { path },
    });
  }
  const { code, text, hint } = meaning;
  return new HypervisorError(code, text(path), { hint, cause: new Error(said), fields: { path } });
}
