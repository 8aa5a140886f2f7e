/**
 * Reads an export's allocated ranges and throws them away, as a backup reads them: a map, frames of 1 MiB, a
 * fixed set of slots. `node bench/read-export.mjs URI [--connections N] [--request BYTES] [--slots N]`
 */
import { parseArgs } from 'node:util';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import { planFrames } from '#nbdelta/changes/plan-frames.js';
import { connectNbd } from '#nbdelta/nbd/client/client.js';

const FRAME = 1 << 20;
const string = { type: 'string' };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { connections: string, request: string, slots: { type: 'string', default: '6' } },
});

async function readFrame(client, plan, slot) {
  let at = 0;
  const reads = plan.extents
    .filter(extent => !extent.zero)
    .map(({ offset, length }) => {
      const target = slot.subarray(at, at + length);
      at += length;
      return client.readInto(offset, target);
    });
  await Promise.all(reads);
}

const client = await connectNbd(positionals[0], {
  ...(values.connections && { connections: Number(values.connections) }),
  ...(values.request && { requestBytes: Number(values.request) }),
});
const plans = planFrames(await readChangeMap(client), FRAME);

/** One slot's life: it takes the next frame until there is none. */
async function work() {
  const slot = new Uint8Array(FRAME);
  for (const plan of plans) await readFrame(client, plan, slot);
}

// A generator ends when one of its loops is left, which happens only at its end: the workers share it.
await Promise.all(Array.from({ length: Number(values.slots) }, work));
await client.close();
