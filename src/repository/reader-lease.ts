import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { StorageError } from '../errors.js';
import { encodeDocument } from './json-document.js';
import { isPointId } from './point-id.js';
import { isCertainlyGone, type ProcessProbe, procProbe } from './process-identity.js';
import type { StorageBackend } from './storage-backend.js';

const LEASE_NAME = /^reader-[0-9a-f-]{36}\.json$/;
const LEASE_MAX_BYTES = 1 << 20;

const text = z.string().max(1024);
const leaseSchema = z.object({
  format: z.literal('nbdelta-reader'),
  version: z.literal(1),
  operation: text,
  host: text,
  hostId: text.nullable(),
  bootId: text.nullable(),
  pidNamespace: text.nullable(),
  pid: z.int().positive(),
  processStart: text.nullable(),
  created: text,
  /** What is read; `null`: not known yet, so all of them. */
  points: z.array(z.string().refine(isPointId)).nullable(),
});

/** `reader-….json` in a machine's folder: somebody reads points, and they must stay. */
export type LeaseRecord = Readonly<z.output<typeof leaseSchema>>;

/** A reader as others find it. */
export interface FoundReader {
  /** Its file, relative to the repository. */
  readonly path: string;
  /** `null`: a file that cannot be read; who holds what is unknown. */
  readonly record: LeaseRecord | null;
}

/** The right to go on reading points that are replaced or removed in the meantime. */
export interface ReaderLease extends AsyncDisposable {
  /** Says which points are read: the others may go. */
  narrow(points: readonly string[]): Promise<void>;
  /** Safe twice. */
  release(): Promise<void>;
}

/**
 * Writes down that points of the machine in `folder` are going to be read. Take it *before* the points are listed:
 * whoever removes some makes them invisible first and looks for readers then, so that one of the two sees the other.
 *
 * A repository that cannot be written to, or is full, can be read all the same: without a lease, a merge or prune at
 * the same time may end the reading with an error, never with wrong data.
 */
export async function takeReaderLease(
  backend: StorageBackend,
  folder: string,
  operation: string,
  probe: ProcessProbe = procProbe,
): Promise<ReaderLease> {
  const path = `${folder}/reader-${randomUUID()}.json`;
  const head = { format: 'nbdelta-reader', version: 1, operation: operation.slice(0, 1024) } as const;
  const self = { ...head, ...(await probe.self()), created: new Date().toISOString() };
  const isWritten = await tolerating(() =>
    backend.replace(path, encodeDocument({ ...self, points: null } satisfies LeaseRecord)),
  );
  let isHeld = isWritten;
  const release = async () => {
    if (!isHeld) return;
    isHeld = false;
    await tolerating(() => backend.remove(path));
  };
  return {
    async narrow(points) {
      if (isHeld) await tolerating(() => backend.replace(path, encodeDocument({ ...self, points })));
    },
    release,
    [Symbol.asyncDispose]: release,
  };
}

/** Whether `work` could be done: a lease that cannot be written or removed must not end a restore. */
async function tolerating(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof StorageError) return false;
    throw error;
  }
}

/** The readers of a machine that may be alive. Leases of those that are certainly gone are removed. */
export async function findReaders(
  backend: StorageBackend,
  folder: string,
  probe: ProcessProbe = procProbe,
): Promise<readonly FoundReader[]> {
  const found: FoundReader[] = [];
  for (const { kind, name } of await backend.list(folder)) {
    if (kind !== 'file' || !LEASE_NAME.test(name)) continue;
    const path = `${folder}/${name}`;
    const bytes = await backend.read(path, { maxBytes: LEASE_MAX_BYTES });
    if (bytes === null) continue;
    const record = decodeLease(bytes);
    if (record !== null && (await isCertainlyGone(record, probe))) await backend.remove(path);
    else found.push({ path, record });
  }
  return found;
}

/** Whether a reader needs the point. */
export function isHolding({ record }: FoundReader, point: string): boolean {
  return record?.points?.includes(point) ?? true;
}

function decodeLease(bytes: Uint8Array): LeaseRecord | null {
  try {
    const result = leaseSchema.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return result.success ? result.data : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
