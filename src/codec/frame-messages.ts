import type { FrameCheck, FrameExpectation } from './open.js';
import type { Seal } from './seal.js';

/**
 * What the pool and its workers tell each other: one message each way per frame. Buffers are transferred, never
 * copied; the arrays beside them are small and of their own memory, because cloning a view copies the whole
 * buffer under it.
 */
export interface SealRequest {
  readonly kind: 'seal';
  readonly job: number;
  readonly raw: ArrayBuffer;
  readonly rawLength: number;
  readonly pieceLengths: Uint32Array;
  readonly out: ArrayBuffer;
}

export interface OpenRequest extends FrameExpectation {
  readonly kind: 'open';
  readonly job: number;
  readonly stored: ArrayBuffer;
  readonly storedLength: number;
  readonly out: ArrayBuffer;
}

export interface DigestRequest {
  readonly kind: 'digest';
  readonly job: number;
  readonly raw: ArrayBuffer;
  readonly rawLength: number;
}

export type FrameRequest = SealRequest | OpenRequest | DigestRequest;

export interface SealReply extends Seal {
  readonly kind: 'sealed';
  readonly job: number;
  readonly raw: ArrayBuffer;
  readonly out: ArrayBuffer;
}

export interface OpenReply {
  readonly kind: 'opened';
  readonly job: number;
  /** The check that failed; `null`: none. */
  readonly failed: FrameCheck | null;
  readonly stored: ArrayBuffer;
  readonly out: ArrayBuffer;
}

export interface DigestReply {
  readonly kind: 'digested';
  readonly job: number;
  readonly raw: ArrayBuffer;
  readonly digest: Uint8Array<ArrayBuffer>;
}

/** The work itself went wrong (a defect): no result, and no buffers. */
export interface FailReply {
  readonly kind: 'failed';
  readonly job: number;
  readonly message: string;
}

export type FrameReply = SealReply | OpenReply | DigestReply | FailReply;

/** What a worker is started with. */
export interface FrameWorkerData {
  readonly level: number;
}
