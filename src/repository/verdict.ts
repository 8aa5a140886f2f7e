import * as z from 'zod';

/** In a point's folder: what the last verification found. Nothing else depends on it. */
export const VERDICT_NAME = 'verified.json';
export const VERDICT_MAX_BYTES = 64 * 1024;

const verdictSchema = z.object({
  format: z.literal('nbdelta-verdict'),
  version: z.literal(1),
  /** When it ended. */
  at: z.iso.datetime(),
  /** `all`: every byte; `sample`: a share of the frames; `against`: compared with a live export. */
  how: z.enum(['all', 'sample', 'against']),
  /** Of the frames, with `sample`. */
  share: z.number().positive().max(1).optional(),
  result: z.enum(['ok', 'damaged', 'differs']),
  problems: z.int().nonnegative(),
  software: z.string(),
});

/** What a verification found of one point. */
export type Verdict = Readonly<z.output<typeof verdictSchema>>;

/** The verdict in a `verified.json`; `null` when it cannot be read: then the point counts as not verified. */
export function decodeVerdict(bytes: Uint8Array): Verdict | null {
  try {
    return verdictSchema.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8'))).data ?? null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
