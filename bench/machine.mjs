/** The machine and its programs, so that figures can be read elsewhere. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import { hasProgram } from '../test/run/setup.mjs';

const GIB = 2 ** 30;

/** First line of `PROGRAM --version`, shortened to its number. */
function versionOf(program) {
  if (!hasProgram(program)) return `${program} missing`;
  const { stdout, stderr } = spawnSync(program, [program === 'restic' ? 'version' : '--version'], {
    encoding: 'utf8',
  });
  return `${program} ${/\d+\.\d+(\.\d+)?/.exec(`${stdout}${stderr}`)?.[0] ?? '?'}`;
}

/** Memory that programs can still take, in bytes. */
function availableMemory() {
  if (!existsSync('/proc/meminfo')) return Number.POSITIVE_INFINITY;
  const kib = /MemAvailable:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  return Number(kib) * 1024;
}

/** Bytes that files in `dir` may take. On a file system in memory, that is memory too; 1 GiB stays free. */
export function roomIn(dir) {
  const { type, bavail, bsize } = statfsSync(dir);
  const isMemory = type === 0x01021994;
  return Math.min(bavail * bsize, isMemory ? availableMemory() - GIB : Number.POSITIVE_INFINITY);
}

/** Two lines: machine and versions. */
export function describeMachine() {
  const model = cpus()[0]?.model ?? 'unknown processor';
  const memory = (availableMemory() / GIB).toFixed(1);
  const versions = ['qemu-nbd', 'nbdcopy', 'zstd', 'restic', 'virtnbdbackup'].map(versionOf).join(', ');
  return [
    `${availableParallelism()} cores, ${model.trim()}, ${memory} GiB of memory available, Linux ${release()}`,
    `node ${process.versions.node}, ${versions}`,
  ];
}
