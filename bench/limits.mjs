/** Limits as contenders: what no program can beat that makes the same frames. */
import { spawnSync } from 'node:child_process';
import { script } from './contenders.mjs';

/** Measures the codec alone on the disk's data. @returns what codec-limit.mjs prints. */
export function measureCodec(scratch) {
  const [program, ...args] = script('codec-limit.mjs', scratch.path('disk.raw'));
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (stdout === '') throw new Error(`codec-limit.mjs: ${stderr.trim()}`);
  return JSON.parse(stdout);
}

/** The codec alone as a contender. @param {'seal' | 'open'} what it does. */
export function codecAlone(scratch, what) {
  const names = { seal: 'the limit: sealing alone', open: 'the limit: opening alone' };
  return {
    name: `${names[what]}, all cores`,
    run: async () => {
      const sum = measureCodec(scratch);
      return { wall: sum[what] / sum.threads, cpu: sum[what], memory: Number.NaN };
    },
  };
}
