/**
 * The limit: frames of 1 MiB of a disk's data, sealed (zero test, BLAKE3, zstd -1, BLAKE3) and opened again (BLAKE3,
 * zstd, BLAKE3), on as many threads as there are cores, and no I/O in what is timed. `node bench/codec-limit.mjs FILE
 * [THREADS]` prints JSON: bytes of data, stored bytes, and the seconds of all threads together that sealing and
 * opening took.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { openFrame } from '#nbdelta/codec/open.js';
import { sealFrame } from '#nbdelta/codec/seal.js';
import { createCompressor, createDecompressor, sealedCapacity } from '#nbdelta/codec/zstd.js';

const FRAME = 1 << 20;

function openCodec() {
  const [compressor, decompressor] = [createCompressor(1), createDecompressor({ checksums: false })];
  const stored = new Uint8Array(sealedCapacity(FRAME));
  const opened = new Uint8Array(FRAME);
  const lengths = Uint32Array.of(FRAME);
  return (raw, sum) => {
    const started = performance.now();
    const sealed = sealFrame(compressor, raw, lengths, stored);
    if (sealed.liveLength === 0) return;
    const between = performance.now();
    const expected = {
      rawLength: sealed.liveLength,
      digest: sealed.digest,
      storedDigest: sealed.storedDigest,
      checkStored: true,
    };
    const failed = openFrame(decompressor, stored.subarray(0, sealed.storedLength), opened, expected);
    if (failed !== null) throw new Error(`a frame that was sealed does not open: ${failed}`);
    sum.open += (performance.now() - between) / 1000;
    sum.seal += (between - started) / 1000;
    sum.bytes += sealed.liveLength;
    sum.stored += sealed.storedLength;
  };
}

function work({ path, first, step }) {
  const file = openSync(path, 'r');
  const { size } = fstatSync(file);
  const raw = new Uint8Array(FRAME);
  const [sum, codec] = [{ bytes: 0, stored: 0, seal: 0, open: 0 }, openCodec()];
  for (let offset = first * FRAME; offset < size; offset += step * FRAME) {
    readSync(file, raw, 0, FRAME, offset);
    codec(raw, sum);
  }
  closeSync(file);
  return sum;
}

/** Runs a share of the frames on a thread of its own. */
function startThread(data) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: data, execArgv: [] });
    worker.once('message', resolve).once('error', reject);
  });
}

if (isMainThread) {
  const [path, threads = String(availableParallelism())] = process.argv.slice(2);
  const step = Number(threads);
  const sums = await Promise.all(
    Array.from({ length: step }, (_, first) => startThread({ path, first, step })),
  );
  const total = { threads: step, bytes: 0, stored: 0, seal: 0, open: 0 };
  for (const sum of sums) for (const key of Object.keys(sum)) total[key] += sum[key];
  process.stdout.write(`${JSON.stringify(total)}\n`);
} else {
  parentPort.postMessage(work(workerData));
}
