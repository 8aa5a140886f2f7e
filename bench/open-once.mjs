/** Opens the newest point of the machine in the repository `argv[2]`, and says what each part took: one JSON line. */
import { readFileSync } from 'node:fs';
import { openChainArchives } from '#nbdelta/chain/open-chain.js';
import { openRepository } from '#nbdelta/repository/repository.js';
import { MACHINE } from './generated-chain.mjs';

/** Highest resident memory. Not `maxRSS`: that begins with what the parent had when it started this process. Bytes. */
function peakMemory() {
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(line[1]) * 1024;
}

/** The longest time in which the event loop had no turn. */
function watchLoop() {
  let [last, longest] = [performance.now(), 0];
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }, 1);
  timer.unref();
  return () => Math.max(longest, performance.now() - last);
}

const began = performance.now();
const longest = watchLoop();
const repository = await openRepository(process.argv[2]);
const { machine, point, points } = await repository.resolve(MACHINE);
const listed = performance.now();
const links = await machine.openChain(points, point.manifest.id, point.manifest.disks[0].name);
const chain = await openChainArchives(machine, links);
const opened = performance.now();
const usage = process.resourceUsage();
const sum = values => values.reduce((total, value) => total + value, 0);
const result = {
  points: points.length,
  frames: sum(chain.archives.map(archive => archive.frames.count)),
  extents: sum(links.map(link => link.disk.archive.extents)),
  segments: chain.segments.count,
  list: (listed - began) / 1000,
  open: (opened - listed) / 1000,
  cpu: (usage.userCPUTime + usage.systemCPUTime) / 1e6,
  memory: peakMemory(),
  blocked: longest() / 1000,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0);
