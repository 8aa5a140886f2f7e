/**
 * A hard change map: 1 TiB at 64 KiB in a checkerboard, 16 million descriptors, 8 million dirty extents, mapped
 * and planned. Alone (`node bench/change-map.mjs`) it fails when a limit is missed. Measured is this process; the
 * server is another one.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import { planFrames } from '#nbdelta/changes/plan-frames.js';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { openScratch } from './scratch.mjs';

const LIMITS = { memory: 400 * 2 ** 20, cpu: 20 };
const EXTENTS = 8 * 2 ** 20;

async function startServer(scratch) {
  const socket = scratch.path('status.sock');
  const program = fileURLToPath(new URL('status-server.mjs', import.meta.url));
  const stdio = ['ignore', 'pipe', 'inherit'];
  const server = scratch.own(spawn(process.execPath, [program, socket], { stdio }));
  const failed = once(server, 'close').then(() => Promise.reject(new Error('the scripted server ended')));
  failed.catch(() => undefined); // wanted until it is ready only
  await Promise.race([once(server.stdout, 'data'), failed]);
  return `nbd+unix:///disk?socket=${socket}`;
}

function countPlans(changes) {
  const count = { frames: 0, extents: 0, bytes: 0 };
  for (const plan of planFrames(changes, 1 << 20)) {
    count.frames++;
    count.extents += plan.extents.length;
    count.bytes += plan.rawLength;
  }
  return count;
}

async function mapAndPlan(uri) {
  const contexts = ['base:allocation', 'qemu:dirty-bitmap:b0'];
  const client = await connectNbd(uri, { contexts });
  const count = countPlans(await readChangeMap(client, { bitmap: 'b0' }));
  await client.close();
  return count;
}

const verdict = met => (met ? 'met' : 'NOT MET');

const started = performance.now();
const planned = await mapAndPlan(await startServer(openScratch(process.env['TMPDIR'] ?? '/tmp')));
const wall = (performance.now() - started) / 1000;
const usage = process.resourceUsage();
const cpu = (usage.userCPUTime + usage.systemCPUTime) / 1e6;
const memory = usage.maxRSS * 1024;
const isRight = planned.extents === EXTENTS && planned.bytes === EXTENTS * 65_536;
const met = { cpu: cpu <= LIMITS.cpu, memory: memory <= LIMITS.memory };
process.stdout.write(
  `change map of 1 TiB, ${planned.extents} dirty extents in ${planned.frames} frames${isRight ? '' : ' (WRONG)'}\n` +
    `  wall ${wall.toFixed(1)} s\n` +
    `  cpu  ${cpu.toFixed(1)} s, at most ${LIMITS.cpu} s: ${verdict(met.cpu)}\n` +
    `  peak memory ${(memory / 2 ** 20).toFixed(0)} MiB, at most ${LIMITS.memory / 2 ** 20} MiB: ${verdict(met.memory)}\n`,
);
// The scratch folder's end is the server's end.
process.exit(isRight && met.cpu && met.memory ? 0 : 1);
