import type { Writable } from 'node:stream';
import { ChainReader } from '../chain/chain-reader.js';
import type { OpenChain } from '../chain/open-chain.js';
import type { FramePool } from '../codec/frame-pool.js';
import { AbortedError, errorLine, TargetError } from '../errors.js';

/** Bytes per step, and steps under way at once. */
const STEP = 1 << 20;
const AHEAD = 8;

export interface StreamDiskOptions {
  readonly chain: OpenChain;
  readonly output: Writable;
  readonly pool: FramePool;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number) => void) | undefined;
}

/**
 * Writes a chain's newest state to a stream, raw and in order. A frame whose extents lie far apart may be
 * decoded more than once when the cache cannot hold it that long.
 */
export async function streamDisk(options: StreamDiskOptions): Promise<void> {
  const { chain, output, pool } = options;
  const reader = new ChainReader(chain, { pool });
  const watch = watchOutput(output, options.signal);
  const pending: Promise<Uint8Array>[] = [];
  try {
    await writeSteps(options, reader, pending, watch);
  } finally {
    // The chain is closed next: nobody reads it any more by then.
    await Promise.allSettled(pending);
    watch.stop();
  }
}

async function writeSteps(
  { chain, output, signal, onProgress }: StreamDiskOptions,
  reader: ChainReader,
  pending: Promise<Uint8Array>[],
  watch: OutputWatch,
): Promise<void> {
  let asked = 0;
  let done = 0;
  while (done < chain.size) {
    if (signal?.aborted) throw new AbortedError('restore', signal.reason);
    for (; pending.length < AHEAD && asked < chain.size; asked += STEP) {
      const step = readStep(reader, asked);
      // It is awaited in its turn; until then its failure must not count as unhandled.
      step.catch(() => undefined);
      pending.push(step);
    }
    const bytes = await pending.shift()!;
    if (!output.write(bytes)) await Promise.race([drained(output), watch.failed]);
    done += bytes.byteLength;
    onProgress?.(done);
  }
  await Promise.race([flushed(output), watch.failed]);
}

interface OutputWatch {
  /** Rejects when the output broke or was closed, or on the signal: also while a reader takes nothing. */
  readonly failed: Promise<never>;
  stop(): void;
}

function watchOutput(output: Writable, signal: AbortSignal | undefined): OutputWatch {
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => undefined);
  const onError = (cause: Error) => fail(streamFailed(cause));
  const onClose = () => fail(streamFailed(new Error('nobody reads it any more')));
  const onAbort = () => fail(new AbortedError('restore', signal?.reason));
  // One that broke before does not say so again.
  if (output.destroyed) fail(streamFailed(output.errored ?? new Error('nobody reads it any more')));
  output.once('error', onError).once('close', onClose);
  signal?.addEventListener('abort', onAbort, { once: true });
  const stop = () => {
    output.off('error', onError).off('close', onClose);
    signal?.removeEventListener('abort', onAbort);
  };
  return { failed, stop };
}

function drained(output: Writable): Promise<void> {
  return new Promise(resolve => output.once('drain', resolve));
}

async function readStep(reader: ChainReader, offset: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.min(STEP, reader.size - offset));
  await reader.readInto(offset, bytes);
  return bytes;
}

/** Resolves when everything written so far was handed to the system. */
function flushed(output: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    output.write(new Uint8Array(0), error => (error ? reject(streamFailed(error)) : resolve()));
  });
}

function streamFailed(cause: unknown): TargetError {
  return new TargetError('TARGET_INVALID', `the output was closed before the end: ${errorLine(cause)}`, {
    cause,
    hint: 'what was written so far is not a whole disk',
  });
}
