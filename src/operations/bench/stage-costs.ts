/** A part of a full backup, and the threads that do it. */
export const STAGE_THREADS = {
  negotiate: 'event loop',
  map: 'event loop',
  read: 'event loop',
  'zero test': 'codec',
  digest: 'codec',
  compress: 'codec',
  'digest of what is stored': 'codec',
  write: 'file',
} as const;

export type StageName = keyof typeof STAGE_THREADS;

/** What a stage did in a measurement. */
export interface StageCost {
  readonly stage: StageName;
  /** Bytes that passed through; of the map, those of the disk. 0: it has nothing to do with bytes. */
  readonly bytes: number;
  /** Seconds of CPU (user and system) that this process spent. */
  readonly cpuSeconds: number;
}

/** Bytes per second of CPU; undefined where nothing was counted. */
export function stageRate({ bytes, cpuSeconds }: StageCost): number | undefined {
  return bytes > 0 && cpuSeconds > 0 ? bytes / cpuSeconds : undefined;
}

/** What one byte of data costs in a full backup, in seconds of CPU. */
export interface ByteCost {
  /** On the event loop's one thread. */
  readonly loop: number;
  /** On codec threads. */
  readonly codec: number;
  /** On the threads that write files. */
  readonly file: number;
}

/** @returns undefined when a stage is missing or took no time that could be measured. */
export function byteCostOf(stages: readonly StageCost[]): ByteCost | undefined {
  const one = (name: StageName) => stages.find(({ stage }) => stage === name);
  const [raw, stored] = [one('compress')?.bytes ?? 0, one('digest of what is stored')?.bytes ?? 0];
  const ratio = raw > 0 ? stored / raw : 0;
  const seconds = (name: StageName) => {
    const found = one(name);
    return found !== undefined && found.bytes > 0 ? found.cpuSeconds / found.bytes : 0;
  };
  const cost = {
    loop: seconds('read'),
    codec:
      seconds('zero test') +
      seconds('digest') +
      seconds('compress') +
      ratio * seconds('digest of what is stored'),
    file: ratio * seconds('write'),
  };
  return cost.loop > 0 && seconds('compress') > 0 ? cost : undefined;
}

/** How fast a full backup could be on a machine with so many cores, and what it waits for. */
export interface ScaledRate {
  readonly cores: number;
  /** Bytes per second. */
  readonly rate: number;
  readonly limit: 'cores' | 'event loop' | 'codec threads' | 'writing';
}

/** A pool has no more. */
const CODEC_THREADS = 16;

/**
 * A byte takes its turn on the event loop, a codec thread and a file thread. As many cores as there are share that
 * work evenly; but the event loop is one thread, a disk's archive is written by one at a time, and there are at most 16
 * codec threads.
 * @param serverCost seconds of CPU that the server takes for a byte when it runs on the same machine.
 */
export function scaledRate({ loop, codec, file }: ByteCost, cores: number, serverCost = 0): ScaledRate {
  const limits = [
    { limit: 'event loop', rate: 1 / loop },
    { limit: 'codec threads', rate: CODEC_THREADS / codec },
    { limit: 'writing', rate: file > 0 ? 1 / file : Number.POSITIVE_INFINITY },
    { limit: 'cores', rate: cores / (loop + codec + file + serverCost) },
  ] as const;
  const lowest = limits.reduce((one, other) => (other.rate < one.rate ? other : one));
  return { cores, ...lowest };
}

/** What limits on any number of cores, and the smallest number at which it does. */
export function scalingLimit(cost: ByteCost): ScaledRate {
  const endless = scaledRate(cost, Number.POSITIVE_INFINITY);
  const cores = Math.ceil(endless.rate * (cost.loop + cost.codec + cost.file));
  return { ...endless, cores };
}
