import { z } from 'zod';
import { HypervisorError } from '../../errors.js';

const bitmap = z.object({ name: z.string(), flags: z.array(z.string()).default([]) });

const info = z.object({
  format: z.string(),
  'virtual-size': z.int().nonnegative(),
  encrypted: z.boolean().default(false),
  'backing-filename': z.string().optional(),
  'format-specific': z
    .object({ data: z.object({ compat: z.string().optional(), bitmaps: z.array(bitmap).default([]) }) })
    .optional(),
});

/** What `qemu-img info --output=json` says of an image. */
export interface ImageInfo {
  readonly format: string;
  /** Bytes that the guest sees. */
  readonly size: number;
  readonly isEncrypted: boolean;
  readonly backing: string | undefined;
  /** Whether its format can hold bitmaps: qcow2 since version 3 (`compat=1.1`). */
  readonly keepsBitmaps: boolean;
  readonly bitmaps: readonly ImageBitmap[];
}

export interface ImageBitmap {
  readonly name: string;
  /** It was open for writing when its writer died: what it holds is not to be believed. */
  readonly isInconsistent: boolean;
  /** Whether it records when the image is opened for writing. */
  readonly isRecording: boolean;
}

/** Reads the tool's answer. @throws HypervisorError when it is another than a QEMU of today gives. */
export function parseImageInfo(json: string, path: string): ImageInfo {
  const parsed = info.safeParse(parseJson(json));
  if (!parsed.success) {
    throw new HypervisorError(
      'HYPERVISOR_FAILED',
      `qemu-img says of ${path} what nbdelta does not understand`,
      { cause: parsed.error },
    );
  }
  const { format, encrypted } = parsed.data;
  const specific = parsed.data['format-specific']?.data;
  return {
    format,
    size: parsed.data['virtual-size'],
    isEncrypted: encrypted || format === 'luks',
    backing: parsed.data['backing-filename'],
    keepsBitmaps: format === 'qcow2' && specific?.compat !== '0.10',
    bitmaps: (specific?.bitmaps ?? []).map(({ name, flags }) => ({
      name,
      isInconsistent: flags.includes('in-use'),
      isRecording: flags.includes('auto'),
    })),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
