import { describe, expect, it } from 'vitest';
import {
  byteCostOf,
  type StageCost,
  scaledRate,
  scalingLimit,
  stageRate,
} from '#nbdelta/operations/bench/stage-costs.js';

const MIB = 2 ** 20;

/** A second of the event loop reads 1000 MiB, codec threads take 4 s for 1000 MiB, and what is left is half as much. */
const STAGES: readonly StageCost[] = [
  { stage: 'negotiate', bytes: 0, cpuSeconds: 0.01 },
  { stage: 'map', bytes: 5000 * MIB, cpuSeconds: 0.1 },
  { stage: 'read', bytes: 1000 * MIB, cpuSeconds: 1 },
  { stage: 'zero test', bytes: 100 * MIB, cpuSeconds: 0.05 },
  { stage: 'digest', bytes: 100 * MIB, cpuSeconds: 0.05 },
  { stage: 'compress', bytes: 100 * MIB, cpuSeconds: 0.25 },
  { stage: 'digest of what is stored', bytes: 50 * MIB, cpuSeconds: 0.05 },
  { stage: 'write', bytes: 50 * MIB, cpuSeconds: 0.1 },
];

describe('what a byte costs', () => {
  it('is the sum of the stages on each kind of thread; of stored bytes there are fewer', () => {
    const cost = byteCostOf(STAGES)!;
    expect(cost.loop * 1000 * MIB).toBeCloseTo(1, 9);
    expect(cost.codec * 1000 * MIB).toBeCloseTo(4, 9);
    expect(cost.file * 1000 * MIB).toBeCloseTo(1, 9);
  });

  it.each(['read', 'compress'] as const)('is not known without %s', missing => {
    expect(byteCostOf(STAGES.filter(({ stage }) => stage !== missing))).toBeUndefined();
  });

  it('is a rate only where bytes and time were counted', () => {
    expect(stageRate(STAGES[0]!)).toBeUndefined();
    expect(stageRate({ stage: 'write', bytes: 5, cpuSeconds: 0 })).toBeUndefined();
    expect(stageRate(STAGES[2]!)).toBe(1000 * MIB);
  });
});

describe('a full backup on more cores', () => {
  const cost = byteCostOf(STAGES)!;

  it('is limited by the cores until the event loop has one of its own', () => {
    expect(scalingLimit(cost)).toMatchObject({ cores: 6, limit: 'event loop' });
    expect(scaledRate(cost, 3)).toMatchObject({ cores: 3, limit: 'cores' });
    expect(scaledRate(cost, 3).rate / MIB).toBeCloseTo(500, 6);
    expect(scaledRate(cost, 5).limit).toBe('cores');
    expect(scaledRate(cost, 6)).toMatchObject({ limit: 'event loop' });
    expect(scaledRate(cost, 64).rate / MIB).toBeCloseTo(1000, 6);
  });

  it('has no more than 16 codec threads, and writes one after another', () => {
    const slow = { ...cost, codec: 40 * cost.loop };
    expect(scaledRate(slow, 64)).toMatchObject({ rate: 16 / slow.codec, limit: 'codec threads' });
    const heavy = { ...cost, file: 2 * cost.loop };
    expect(scalingLimit(heavy)).toMatchObject({ rate: 1 / heavy.file, limit: 'writing' });
  });

  it('shares the cores with a server on the same machine', () => {
    const server = 2 / (1000 * MIB);
    expect(scaledRate(cost, 4, server).rate / MIB).toBeCloseTo(500, 6);
  });
});
