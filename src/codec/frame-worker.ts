import { parentPort, workerData } from 'node:worker_threads';
import { errorLine } from '../errors.js';
import type {
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
const decompressor = createDecompressor();

port.on('message', (request: FrameRequest) => {
  try {
    if (request.kind === 'seal') seal(request);
    else open(request);
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

function reply(message: FrameReply, transfer: ArrayBuffer[]): void {
  port.postMessage(message, transfer);
}
