/**
 * The CPU baseline: seals (zero test, BLAKE3, zstd -1, BLAKE3) the data of a disk in frames of 1 MiB, on one thread
 * and without I/O. `node bench/codec-baseline.mjs FILE MIB` prints JSON: bytes of data, stored bytes, seconds.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { sealFrame } from '#nbdelta/codec/seal.js';
import { createCompressor, sealedCapacity } from '#nbdelta/codec/zstd.js';

const FRAME = 1 << 20;
const [path, limit] = process.argv.slice(2);
const file = openSync(path, 'r');
const { size } = fstatSync(file);
const compressor = createCompressor(1);
const raw = new Uint8Array(FRAME);
const out = new Uint8Array(sealedCapacity(FRAME));
const lengths = Uint32Array.of(FRAME);
const result = { bytes: 0, stored: 0, seconds: 0 };
for (let offset = 0; offset < size && result.bytes < Number(limit) * FRAME; offset += FRAME) {
  readSync(file, raw, 0, FRAME, offset);
  const started = performance.now();
  const { liveLength, storedLength } = sealFrame(compressor, raw, lengths, out);
  if (liveLength === 0) continue;
  result.seconds += (performance.now() - started) / 1000;
  result.bytes += liveLength;
  result.stored += storedLength;
}
closeSync(file);
process.stdout.write(`${JSON.stringify(result)}\n`);
