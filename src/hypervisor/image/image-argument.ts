/** An image as it is opened: format and key are said, never guessed a second time. */
export interface ImageReference {
  /** Absolute. */
  readonly path: string;
  /** A guest may write into a raw image what looks like another format's header. */
  readonly format: string;
  readonly isDevice: boolean;
  readonly isEncrypted: boolean;
  /** File with the passphrase. */
  readonly secretFile: string | undefined;
}

/** `reading`: with everything behind it, and nobody may write to it meanwhile; `bitmaps`: only its own bitmaps are meant. */
export type Purpose = 'reading' | 'bitmaps';

const SECRET_ID = 'nbdelta';
const JSON_PREFIX = 'json:';

/** Arguments that open the image with any of QEMU's programs. */
export function imageArguments(image: ImageReference, purpose: Purpose): readonly string[] {
  return [...secretArguments(image), imageArgument(image, purpose)];
}

/**
 * The image as one argument. JSON has no name that must be escaped, no guessing of formats or protocols, and no option
 * that a name could be taken for.
 */
export function imageArgument(image: ImageReference, purpose: Purpose): string {
  const { path, isDevice, format } = image;
  const file = { driver: isDevice ? 'host_device' : 'file', filename: path };
  return `${JSON_PREFIX}${JSON.stringify({
    driver: format,
    ...(hasSecret(image) && keyOf(format)),
    ...(purpose === 'bitmaps' && format === 'qcow2' && { backing: null }),
    file: purpose === 'reading' && !locksItself(format) ? unshared(file) : file,
  })}`;
}

/**
 * QEMU's raw and LUKS drivers, opened for reading, share the image with writers: a running guest's would be read while
 * it changes, and a guest could start on it (seen with 7.2). blkdebug passes everything through, but for writers (5.0).
 */
function unshared(image: object): object {
  return { driver: 'blkdebug', 'unshare-child-perms': ['write', 'resize'], image };
}

/** Formats with metadata, which could not be read while somebody changes it. */
function locksItself(format: string): boolean {
  return format !== 'raw' && format !== 'luks';
}

function keyOf(format: string): object {
  return format === 'luks' ? { 'key-secret': SECRET_ID } : { 'encrypt.key-secret': SECRET_ID };
}

function hasSecret({ isEncrypted, secretFile }: ImageReference): boolean {
  return isEncrypted && secretFile !== undefined;
}

/** The program reads the file by itself: the passphrase is in no argument list. */
function secretArguments(image: ImageReference): readonly string[] {
  if (!hasSecret(image)) return [];
  return ['--object', `secret,id=${SECRET_ID},file=${escapeOption(image.secretFile!)}`];
}

/** QEMU's option lists: a comma in a value is written twice. */
export function escapeOption(value: string): string {
  return value.replaceAll(',', ',,');
}

/** The path in an argument that {@link imageArgument} made; `undefined` for any other. */
export function pathInArgument(argument: string): string | undefined {
  if (!argument.startsWith(JSON_PREFIX)) return undefined;
  try {
    const { file } = JSON.parse(argument.slice(JSON_PREFIX.length)) as { readonly file?: FileNode };
    const filename = file?.image?.filename ?? file?.filename;
    return typeof filename === 'string' ? filename : undefined;
  } catch {
    // Cut, or somebody else's.
    return undefined;
  }
}

interface FileNode {
  readonly filename?: unknown;
  readonly image?: { readonly filename?: unknown };
}
