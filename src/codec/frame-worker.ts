import { parentPort, workerData } from 'node:worker_threads';
import { errorLine, NbdeltaError } from '../errors.js';
import { blake3Digest } from './blake3.js';
import type {
  DigestRequest,
  FrameReply,
  FrameRequest,
  FrameWorkerData,
  OpenRequest,
  SealRequest,
} from './frame-messages.js';
import { openFrame } from './open.js';
import { sealFrame } from './seal.js';
import { createCompressor, createDecompressor } from './zstd.js';

/** The worker's side of the frame pool: one frame at a time, CPU only. */
const port = parentPort!;
const compressor = createCompressor((workerData as FrameWorkerData).level);
const decompressor = createDecompressor({ checksums: false });

port.on('message', (request: FrameRequest) => {
  try {
    if (request.kind === 'seal') seal(request);
    else if (request.kind === 'open') open(request);
    else digest(request);
  } catch (error) {
    reply({ kind: 'failed', job: request.job, message: errorLine(error) }, []);
  }
});

function seal({ job, raw, rawLength, pieceLengths, out }: SealRequest): void {
  const result = sealFrame(compressor, new Uint8Array(raw, 0, rawLength), pieceLengths, new Uint8Array(out));
  reply({ kind: 'sealed', job, raw, out, ...result }, [raw, out]);
}

function open(request: OpenRequest): void {
  const { job, stored, storedLength, out } = request;
  const failed = openFrame(
    decompressor,
    new Uint8Array(stored, 0, storedLength),
    new Uint8Array(out),
    request,
  );
  reply({ kind: 'opened', job, failed, stored, out }, [stored, out]);
}

function digest({ job, raw, rawLength }: DigestRequest): void {
  const bytes = new Uint8Array(raw, 0, rawLength);
  const result = blake3Digest(bytes);
  // A detached buffer has the digest of nothing, without an error.
  if (bytes.length !== rawLength)
    throw new NbdeltaError('INTERNAL', 'frame buffer detached before its digest');
  reply({ kind: 'digested', job, raw, digest: result }, [raw]);
}

function reply(message: FrameReply, transfer: ArrayBuffer[]): void {
  port.postMessage(message, transfer);
}
