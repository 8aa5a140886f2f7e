/** What QEMU's programs must be told to open an image as it is, and as nothing else. */
export interface OpenableImage {
  /** Absolute. */
  readonly path: string;
  readonly isDevice: boolean;
  readonly format: string;
  readonly isEncrypted: boolean;
}

const SECRET_ID = 'nbdelta';

/**
 * The image as one argument. JSON has no name that must be escaped, no guessing of formats or protocols, and no option
 * that a name could be taken for.
 * @param backing `none`: what is behind it is not opened, because only its bitmaps are meant.
 */
export function imageArgument(image: OpenableImage, backing: 'open' | 'none' = 'open'): string {
  const { path, isDevice, format, isEncrypted } = image;
  return `json:${JSON.stringify({
    driver: format,
    ...(isEncrypted && encryption(format)),
    ...(backing === 'none' && format === 'qcow2' && { backing: null }),
    file: { driver: isDevice ? 'host_device' : 'file', filename: path },
  })}`;
}

function encryption(format: string): Readonly<Record<string, unknown>> {
  if (format === 'luks') return { 'key-secret': SECRET_ID };
  return { encrypt: { format: 'luks', 'key-secret': SECRET_ID } };
}

/** Makes the passphrase known to the program, which reads the file itself: it is in no argument list. */
export function secretArguments(image: OpenableImage, secretFile: string | undefined): readonly string[] {
  if (!image.isEncrypted || secretFile === undefined) return [];
  return ['--object', `secret,id=${SECRET_ID},file=${secretFile.replaceAll(',', ',,')}`];
}

/** The path in an argument that {@link imageArgument} made; `undefined` for any other. */
export function pathInArgument(argument: string): string | undefined {
  if (!argument.startsWith('json:')) return undefined;
  try {
    const { file } = JSON.parse(argument.slice('json:'.length)) as { readonly file?: { readonly filename?: unknown } };
    return typeof file?.filename === 'string' ? file.filename : undefined;
  } catch {
    return undefined; // cut, or somebody else's
  }
}
