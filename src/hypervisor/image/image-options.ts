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

const SECRET_ID = 'nbdelta-secret';

/** Arguments that open the image with any of QEMU's programs. */
export function openingArguments(image: ImageReference): readonly string[] {
  const { path, format, isDevice, isEncrypted, secretFile } = image;
  const hasSecret = isEncrypted && secretFile !== undefined;
  const key = format === 'luks' ? 'key-secret' : 'encrypt.key-secret';
  const options = [
    `driver=${format}`,
    ...(hasSecret ? [`${key}=${SECRET_ID}`] : []),
    `file.driver=${isDevice ? 'host_device' : 'file'}`,
    `file.filename=${escapeOption(path)}`,
  ];
  return [...(hasSecret ? secretArguments(secretFile) : []), '--image-opts', options.join(',')];
}

function secretArguments(file: string): readonly string[] {
  return ['--object', `secret,id=${SECRET_ID},file=${escapeOption(file)}`];
}

/** QEMU's option lists: a comma in a value is written twice. */
export function escapeOption(value: string): string {
  return value.replaceAll(',', ',,');
}
