import { z } from 'zod';
import { HypervisorError } from '../../errors.js';

const bitmap = z.object({
  name: z.string(),
  /** `auto`: it records. `in-use`: an open image has it in memory, or had when QEMU was killed. */
  flags: z.array(z.string()),
  granularity: z.int().positive(),
});

const qcow2 = z.object({
  compat: z.string().optional(),
  corrupt: z.boolean().default(false),
  bitmaps: z.array(bitmap).default([]),
  encrypt: z.object({ format: z.string() }).optional(),
  'data-file': z.string().optional(),
});

const info = z.object({
  format: z.string().min(1),
  'virtual-size': z.int().nonnegative(),
  encrypted: z.boolean().default(false),
  'backing-filename': z.string().optional(),
  'format-specific': z.object({ type: z.string(), data: z.unknown() }).optional(),
});

export type ImageBitmap = Readonly<z.output<typeof bitmap>>;

/** What matters of `qemu-img info --output=json`. */
export interface ImageInfo {
  readonly format: string;
  /** Bytes that the guest sees. */
  readonly size: number;
  /** How its content is encrypted: `luks`, or qcow2's old `aes`. */
  readonly encryption: string | undefined;
  /** As the image says it: perhaps relative, perhaps a URI. */
  readonly backing: string | undefined;
  /** The other file that it keeps the data in. */
  readonly dataFile: string | undefined;
  /** qcow2's `0.10` cannot keep bitmaps; `1.1` can. */
  readonly compat: string | undefined;
  readonly isCorrupt: boolean;
  readonly bitmaps: readonly ImageBitmap[];
}

/** @throws HypervisorError when it is not what qemu-img prints. */
export function parseImageInfo(text: string, path: string): ImageInfo {
  try {
    const parsed = info.parse(JSON.parse(text));
    const details = parsed.format === 'qcow2' ? qcow2.parse(parsed['format-specific']?.data ?? {}) : undefined;
    return {
      format: parsed.format,
      size: parsed['virtual-size'],
      encryption: parsed.encrypted ? encryptionOf(parsed.format, details) : undefined,
      backing: parsed['backing-filename'],
      dataFile: details?.['data-file'],
      compat: details?.compat,
      isCorrupt: details?.corrupt ?? false,
      bitmaps: details?.bitmaps ?? [],
    };
  } catch (cause) {
    throw new HypervisorError('HYPERVISOR_FAILED', `what qemu-img says of ${path} is not understood`, { cause });
  }
}

function encryptionOf(format: string, details: z.output<typeof qcow2> | undefined): string {
  if (format === 'luks') return 'luks';
  // Before QEMU 2.10 it was not said how: there was nothing but AES.
  return details?.encrypt?.format ?? 'aes';
}
