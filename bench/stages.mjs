/**
 * What each stage of a backup costs, one after another and each alone: bytes per second of CPU that this process uses for
 * it (user + system; the server's is its own). Where one thread of JavaScript is all there is, in negotiate, map and
 * read, that is also the rate at which the event loop becomes the limit.
 * `node bench/stages.mjs URI` prints JSON lines: stage, bytes, CPU seconds, and whether it scales with cores.
 */
import { openSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import { planFrames } from '#nbdelta/changes/plan-frames.js';
import { blake3Digest } from '#nbdelta/codec/blake3.js';
import { findZeroRuns } from '#nbdelta/codec/zero-runs.js';
import { createCompressor, sealedCapacity } from '#nbdelta/codec/zstd.js';
import { connectNbd } from '#nbdelta/nbd/client/client.js';

const FRAME = 1 << 20;
/** Data that is kept in memory for the stages after reading. */
const SAMPLE = 256;
const [uri, folder = tmpdir()] = process.argv.slice(2);

async function stage(name, scales, work) {
  const before = process.cpuUsage();
  const bytes = await work();
  const { user, system } = process.cpuUsage(before);
  process.stdout.write(`${JSON.stringify({ stage: name, bytes, cpu: (user + system) / 1e6, scales })}\n`);
}

let client;
await stage('negotiate', false, async () => {
  client = await connectNbd(uri);
  return 0;
});
let map;
await stage('map', false, async () => {
  map = await readChangeMap(client);
  return client.info.size;
});
const plans = [...planFrames(map, FRAME)];
const frames = [];

async function readPlan(plan, target) {
  let at = 0;
  const reads = [];
  for (const { offset, length, zero } of plan.extents) {
    if (zero) continue;
    reads.push(client.readInto(offset, target.subarray(at, at + length)));
    at += length;
  }
  await Promise.all(reads);
  return at;
}

await stage('read', false, async () => {
  const queue = plans.values();
  let bytes = 0;
  const work = async () => {
    const slot = new Uint8Array(FRAME);
    for (const plan of queue) {
      const length = await readPlan(plan, slot);
      bytes += length;
    }
  };
  await Promise.all(Array.from({ length: 8 }, work));
  return bytes;
});
for (const plan of plans) {
  if (frames.length === SAMPLE) break;
  const target = new Uint8Array(FRAME);
  if ((await readPlan(plan, target)) === FRAME) frames.push(target);
}
await client.close();
const sampled = frames.length * FRAME;
const lengths = Uint32Array.of(FRAME);
await stage('zero test', true, async () => {
  for (const frame of frames) findZeroRuns(frame, lengths);
  return sampled;
});
await stage('digest', true, async () => {
  for (const frame of frames) blake3Digest(frame);
  return sampled;
});
const compressor = createCompressor(1);
const out = new Uint8Array(sealedCapacity(FRAME));
const lengthsOut = [];
await stage('compress', true, async () => {
  for (const frame of frames) lengthsOut.push(compressor.compress(out, frame));
  return sampled;
});
const stored = lengthsOut.reduce((sum, length) => sum + length, 0);
await stage('digest of what is stored', true, async () => {
  for (const length of lengthsOut) blake3Digest(out.subarray(0, length));
  return stored;
});
const file = openSync(join(folder, 'stages-written'), 'w');
await stage('write', false, async () => {
  for (const length of lengthsOut) writeSync(file, out, 0, length);
  return stored;
});
// Until here they are needed: what is given back to the system in the middle of a stage would be counted for it.
frames.length = 0;
