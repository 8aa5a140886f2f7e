/**
 * Random reads of an export's data, many at once: `node bench/random-read.mjs URI COUNT DEPTH` reads COUNT blocks of
 * 64 KiB, always the same ones, DEPTH at a time, and prints the seconds that they took.
 */
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { openRandom } from './disk-image.mjs';

const BLOCK = 1 << 16;
const [uri, count, depth] = process.argv.slice(2);
const client = await connectNbd(uri);
const next = openRandom(23);
const offsets = Array.from({ length: Number(count) }, () => (next() % (client.info.size / BLOCK)) * BLOCK);

async function work() {
  const block = new Uint8Array(BLOCK);
  for (let offset = offsets.pop(); offset !== undefined; offset = offsets.pop())
    await client.readInto(offset, block);
}

const started = performance.now();
await Promise.all(Array.from({ length: Number(depth) }, work));
process.stdout.write(`${(performance.now() - started) / 1000}\n`);
await client.close();
