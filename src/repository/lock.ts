import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { RepositoryError } from '../errors.js';
import { encodeDocument } from './json-document.js';
import { isCertainlyGone, type ProcessProbe, procProbe } from './process-identity.js';
import type { StorageBackend } from './storage-backend.js';

export const LOCK_NAME = 'lock.json';
const LOCK_MAX_BYTES = 64 * 1024;
/** Each round somebody else made progress; more than this many is no accident. */
const MAX_ROUNDS = 20;

const text = z.string().max(1024);
const lockRecordSchema = z.object({
  format: z.literal('nbdelta-lock'),
  version: z.literal(1),
  token: text,
  operation: text,
  host: text,
  hostId: text.nullable(),
  bootId: text.nullable(),
  pidNamespace: text.nullable(),
  pid: z.int().positive(),
  processStart: text.nullable(),
  created: text,
});

/** `lock.json`: who works on a machine. */
export type LockRecord = Readonly<z.output<typeof lockRecordSchema>>;

export interface LockOptions {
  readonly now?: Date;
  /** For tests. */
  readonly probe?: ProcessProbe;
}

/** The right to change one machine's points. */
export interface MachineLock extends AsyncDisposable {
  readonly record: LockRecord;
  /** @throws RepositoryError LOCK_LOST when somebody took the lock over or removed it. */
  checkStillHeld(): Promise<void>;
  /** Gives the lock back, if it is still ours. Safe twice. */
  release(): Promise<void>;
}

/**
 * Takes the lock of the machine in `folder`. A lock whose holder is certainly gone (this host, and the process
 * ended or the host was booted again) is taken over.
 * @throws RepositoryError LOCKED, saying who holds it and since when.
 */
export async function acquireLock(
  backend: StorageBackend,
  folder: string,
  operation: string,
  options: LockOptions = {},
): Promise<MachineLock> {
  const path = `${folder}/${LOCK_NAME}`;
  const probe = options.probe ?? procProbe;
  const record = await newLockRecord(operation.slice(0, 1024), probe, options.now ?? new Date());
  const bytes = encodeDocument(record);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    // Also after a takeover only this decides: of several takers exactly one creates the file.
    if (await backend.putExclusive(path, bytes)) return new HeldLock(backend, path, record, bytes);
    await clearStaleLock(backend, folder, probe);
  }
  throw new RepositoryError('LOCKED', `machine ${folder} is locked, again and again by others`, {
    retryable: true,
    hint: 'Try again when fewer operations run at the same time.',
  });
}

async function newLockRecord(operation: string, probe: ProcessProbe, now: Date): Promise<LockRecord> {
  const self = await probe.self();
  const head = { format: 'nbdelta-lock', version: 1, token: randomUUID(), operation } as const;
  return { ...head, ...self, created: now.toISOString() };
}

/** Removes the lock if its holder is gone; nothing when there is none any more. @throws RepositoryError LOCKED. */
async function clearStaleLock(backend: StorageBackend, folder: string, probe: ProcessProbe): Promise<void> {
  const path = `${folder}/${LOCK_NAME}`;
  const bytes = await backend.read(path, { maxBytes: LOCK_MAX_BYTES });
  if (bytes === null) return;
  const record = decodeLock(bytes);
  if (record !== null && (await isCertainlyGone(record, probe))) {
    // Only this very lock: the judged one may be gone, and a living process hold a lock of the same name.
    await backend.removeIfUnchanged(path, bytes);
    return;
  }
  throw lockedError(folder, `${backend.describe()}/${path}`, record);
}

function lockedError(folder: string, file: string, record: LockRecord | null): RepositoryError {
  const breakIt = `if no such process runs any more, remove ${file}`;
  if (record === null) {
    return new RepositoryError('LOCKED', `machine ${folder} has a lock that cannot be read`, {
      hint: `Check what runs on this repository; ${breakIt}.`,
      fields: { machine: folder },
    });
  }
  const holder = `${record.operation} (host ${record.host}, pid ${record.pid}, since ${record.created})`;
  return new RepositoryError('LOCKED', `machine ${folder} is in use by ${holder}`, {
    retryable: true,
    hint: `Wait until it ends; ${breakIt}.`,
    fields: { machine: folder, host: record.host, pid: record.pid, since: record.created },
  });
}

/** `null`: damaged, or of another version; then nobody can say whether its holder lives. */
function decodeLock(bytes: Uint8Array): LockRecord | null {
  try {
    const result = lockRecordSchema.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return result.success ? result.data : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

class HeldLock implements MachineLock {
  readonly record: LockRecord;
  readonly #backend: StorageBackend;
  readonly #path: string;
  readonly #bytes: Uint8Array;
  #released = false;

  constructor(backend: StorageBackend, path: string, record: LockRecord, bytes: Uint8Array) {
    this.#backend = backend;
    this.#path = path;
    this.record = record;
    this.#bytes = bytes;
  }

  async checkStillHeld(): Promise<void> {
    const bytes = this.#released ? null : await this.#backend.read(this.#path, { maxBytes: LOCK_MAX_BYTES });
    const holder = bytes === null ? null : decodeLock(bytes);
    if (holder?.token === this.record.token) return;
    const who = holder === null ? '' : ` by ${holder.operation} (host ${holder.host}, pid ${holder.pid})`;
    const how = this.#released ? 'was released' : bytes === null ? 'was removed' : `was taken over${who}`;
    throw new RepositoryError('LOCK_LOST', `the lock ${this.#path} of ${this.record.operation} ${how}`, {
      hint: 'Nothing was committed: run the operation again, and remove a lock only when its process ended.',
    });
  }

  async release(): Promise<void> {
    if (this.#released) return;
    await this.#backend.removeIfUnchanged(this.#path, this.#bytes);
    this.#released = true;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}
