import * as z from 'zod';
import { HypervisorError } from '../../errors.js';

const bitmap = z.object({ name: z.string(), flags: z.array(z.string()).default([]) });

const specific = z.object({
  compat: z.string().optional(),
  corrupt: z.boolean().default(false),
  'data-file': z.string().optional(),
  bitmaps: z.array(bitmap).default([]),
});

const info = z.object({
  format: z.string().min(1),
  'virtual-size': z.int().nonnegative(),
  encrypted: z.boolean().default(false),
  'backing-filename': z.string().optional(),
  'format-specific': z.object({ data: z.unknown() }).optional(),
});

/** What `qemu-img info --output=json` says of an image. */
export interface ImageInfo {
  readonly format: string;
  /** Bytes that the guest sees. */
  readonly size: number;
  readonly isEncrypted: boolean;
  /** As the image says it: perhaps relative, perhaps a URI. */
  readonly backing: string | undefined;
  /** The other file that it keeps the data in. */
  readonly dataFile: string | undefined;
  /** QEMU found its metadata wrong, and opens it for reading only. */
  readonly isCorrupt: boolean;
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
  try {
    return readInfo(JSON.parse(json));
  } catch (cause) {
    const text = `qemu-img says of ${path} what nbdelta does not understand`;
    throw new HypervisorError('HYPERVISOR_FAILED', text, { cause });
  }
}

function readInfo(document: unknown): ImageInfo {
  const parsed = info.parse(document);
  const { format, encrypted } = parsed;
  const isQcow2 = format === 'qcow2';
  // Other formats say other things under the same words.
  const data = specific.parse((isQcow2 ? parsed['format-specific']?.data : undefined) ?? {});
  return {
    format,
    size: parsed['virtual-size'],
    isEncrypted: encrypted || format === 'luks',
    backing: parsed['backing-filename'],
    dataFile: data['data-file'],
    isCorrupt: data.corrupt,
    keepsBitmaps: isQcow2 && data.compat !== undefined && data.compat !== '0.10',
    bitmaps: data.bitmaps.map(({ name, flags }) => ({
      name,
      isInconsistent: flags.includes('in-use'),
      isRecording: flags.includes('auto'),
    })),
  };
}
