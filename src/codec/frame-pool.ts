import { availableParallelism } from 'node:os';
import { NbdeltaError, UsageError } from '../errors.js';
import { DIGEST_LENGTH, STORED_DIGEST_LENGTH } from './blake3.js';
import type { CodecSpec } from './codec-spec.js';
import type { FrameCheck, FrameExpectation } from './open.js';
import type { Seal } from './seal.js';
import { WorkerTeam } from './worker-team.js';
import { sealedCapacity } from './zstd.js';

export { sealedCapacity } from './zstd.js';

/** Most threads of a pool. */
const MAX_THREADS = 16;

export interface FramePoolOptions {
  /** Default: what the machine has, at most 16. */
  readonly threads?: number;
  /** How frames are sealed; opening reads every codec. */
  readonly codec: CodecSpec;
}

/** A frame to be stored. The pool owns both buffers until the promise settles. */
export interface SealJob {
  readonly raw: ArrayBuffer;
  /** Bytes of `raw` in use, at least 1. */
  readonly rawLength: number;
  /** Lengths of the pieces of the disk that lie in `raw` one after another; their sum is `rawLength`. */
  readonly pieceLengths: Uint32Array;
  /** At least `sealedCapacity(rawLength)` bytes. */
  readonly out: ArrayBuffer;
}

/** A sealed frame and the caller's buffers back. `liveLength` 0: all zero, nothing to store. */
export interface SealedFrame extends Seal {
  /** The live bytes, `liveLength` of them, moved to the start. */
  readonly raw: ArrayBuffer;
  /** The stored bytes, `storedLength` of them. */
  readonly out: ArrayBuffer;
}

/** A stored frame to be checked and decompressed. The pool owns both buffers until the promise settles. */
export interface OpenJob extends FrameExpectation {
  readonly stored: ArrayBuffer;
  readonly storedLength: number;
  /** At least `rawLength` bytes. */
  readonly out: ArrayBuffer;
}

/** The caller's buffers back, and whether `out` holds the frame's content. */
export type OpenedFrame =
  | { readonly ok: true; readonly stored: ArrayBuffer; readonly out: ArrayBuffer }
  | {
      readonly ok: false;
      readonly check: FrameCheck;
      readonly stored: ArrayBuffer;
      readonly out: ArrayBuffer;
    };

/** Bytes to be digested as those of a frame are. The pool owns the buffer until the promise settles. */
export interface DigestJob {
  readonly raw: ArrayBuffer;
  /** Bytes of `raw` in use, at least 1. */
  readonly rawLength: number;
}

/** BLAKE3 of the raw bytes, and the caller's buffer back, unchanged. */
export interface DigestedBytes {
  readonly raw: ArrayBuffer;
  readonly digest: Uint8Array;
}

/**
 * Threads that seal and open frames. Buffers travel: a buffer given to a job is detached here and comes back, as
 * another `ArrayBuffer` of the same memory, in the result. How much may wait is bounded by how many buffers the
 * callers have.
 *
 * A promise rejects with UsageError (the job makes no sense; the buffers were not touched), ABORTED (the pool
 * was closed) or INTERNAL (a worker failed). After ABORTED and INTERNAL the buffers are lost. Damaged data does
 * *not* reject: it is `ok: false`, with the buffers; the caller knows point, disk and range.
 */
export interface FramePool extends AsyncDisposable {
  /** Most threads that work at once. */
  readonly threads: number;
  /** Starts all threads now, for whoever will soon have work for them: otherwise each starts with its first job. */
  warmUp(): void;
  seal(job: SealJob): Promise<SealedFrame>;
  open(job: OpenJob): Promise<OpenedFrame>;
  /** The digest that a frame of these bytes has. */
  digest(job: DigestJob): Promise<DigestedBytes>;
}

/** Opens a pool; threads start when there is work for them. */
export function openFramePool({ threads = availableParallelism(), codec }: FramePoolOptions): FramePool {
  if (!Number.isInteger(threads) || threads < 1)
    throw new UsageError(`${threads} threads, expected at least 1`);
  const most = Math.min(threads, MAX_THREADS);
  return new WorkerFramePool(new WorkerTeam(most, { level: codec.level }), most);
}

class WorkerFramePool implements FramePool {
  readonly threads: number;
  readonly #team: WorkerTeam;

  constructor(team: WorkerTeam, threads: number) {
    this.#team = team;
    this.threads = threads;
  }

  warmUp(): void {
    this.#team.warmUp();
  }

  async seal({ raw, rawLength, pieceLengths, out }: SealJob): Promise<SealedFrame> {
    checkBuffer('raw', raw, rawLength);
    checkBuffer('out', out, sealedCapacity(rawLength));
    const [rawBytes, outBytes] = [raw.byteLength, out.byteLength];
    const reply = await this.#team.run(
      { kind: 'seal', job: this.#team.nextJob(), raw, rawLength, pieceLengths: pieceLengths.slice(), out },
      [raw, out],
    );
    if (reply.kind !== 'sealed') throw wrongReply(reply.kind);
    checkReturned(reply.raw, rawBytes);
    checkReturned(reply.out, outBytes);
    const { liveLength, storedLength, digest, storedDigest, zeroRuns } = reply;
    return { raw: reply.raw, out: reply.out, liveLength, storedLength, digest, storedDigest, zeroRuns };
  }

  async open({ stored, storedLength, out, rawLength, ...expected }: OpenJob): Promise<OpenedFrame> {
    checkBuffer('stored', stored, storedLength);
    checkBuffer('out', out, rawLength);
    const digest = ownDigest(expected.digest, DIGEST_LENGTH);
    const storedDigest = ownDigest(expected.storedDigest, STORED_DIGEST_LENGTH);
    const { checkStored } = expected;
    const job = this.#team.nextJob();
    const [storedBytes, outBytes] = [stored.byteLength, out.byteLength];
    const reply = await this.#team.run(
      { kind: 'open', job, stored, storedLength, out, rawLength, digest, storedDigest, checkStored },
      [stored, out],
    );
    if (reply.kind !== 'opened') throw wrongReply(reply.kind);
    checkReturned(reply.stored, storedBytes);
    checkReturned(reply.out, outBytes);
    const buffers = { stored: reply.stored, out: reply.out };
    return reply.failed === null ? { ok: true, ...buffers } : { ok: false, check: reply.failed, ...buffers };
  }

  async digest({ raw, rawLength }: DigestJob): Promise<DigestedBytes> {
    checkBuffer('raw', raw, rawLength);
    const rawBytes = raw.byteLength;
    const reply = await this.#team.run({ kind: 'digest', job: this.#team.nextJob(), raw, rawLength }, [raw]);
    if (reply.kind !== 'digested') throw wrongReply(reply.kind);
    checkReturned(reply.raw, rawBytes);
    return { raw: reply.raw, digest: reply.digest };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#team.close();
  }
}

/** A detached buffer has no bytes: refused here, because codecs take it for valid empty input. */
function checkBuffer(name: string, buffer: ArrayBuffer, needed: number): void {
  if (!Number.isInteger(needed) || needed < 1) throw new UsageError(`frame job: ${name} of ${needed} bytes`);
  if (buffer.byteLength >= needed) return;
  throw new UsageError(
    `frame job: buffer ${name} has ${buffer.byteLength} bytes${buffer.byteLength === 0 ? ' (detached?)' : ''}, needs ${needed}`,
  );
}

/** A copy in memory of its own: cloning a view would copy the whole table that it lies in. */
function ownDigest(digest: Uint8Array, length: number): Uint8Array {
  if (digest.length !== length) throw new UsageError(`digest of ${digest.length} bytes, expected ${length}`);
  return new Uint8Array(digest);
}

function checkReturned(buffer: ArrayBuffer, bytes: number): void {
  if (buffer.byteLength === bytes) return;
  throw new NbdeltaError(
    'INTERNAL',
    `a worker returned a buffer of ${buffer.byteLength} bytes, expected ${bytes}`,
  );
}

function wrongReply(kind: string): NbdeltaError {
  return new NbdeltaError('INTERNAL', `a worker answered ${kind} to another question`);
}
