/**
 * One comparison: contenders that do the same work, each once per round, so that what else the machine does hits all
 * alike. The first contender is ours.
 */
import { reportContest } from './report.mjs';

/**
 * @typedef {{wall: number, cpu: number, memory: number, busy?: number}} Sample seconds, seconds, bytes, and the share of
 *   all cores' time that something ran (0 to 1).
 * @typedef {{name: string, run?: () => Promise<Sample>, missing?: string}} Contender `missing`: why it cannot run here.
 * @typedef {Sample & {name: string, missing?: string, samples?: Sample[], ratio?: {median: number, low: number, high:
 *   number}}} Standing medians, the highest memory, and how many times faster ours is.
 * @typedef {{suite: string, name: string, bytes: number, contenders: Standing[], targets: Judged[]}} Result
 * @typedef {{what: string, atLeast?: number, atMost?: number, unit?: string}} Limit
 * @typedef {Limit & {of: (result: Result) => number | undefined}} Target `of` takes its figure out of the result;
 *   undefined: cannot be judged here.
 * @typedef {Limit & {value?: number, met?: boolean}} Judged
 */

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Medians of times, the highest memory. */
function summarize(samples) {
  const of = (key, pick) => pick(samples.map(sample => sample[key] ?? Number.NaN));
  return {
    wall: of('wall', median),
    cpu: of('cpu', median),
    memory: of('memory', values => Math.max(...values)),
    busy: of('busy', median),
  };
}

/** How many times faster the first is than the second, round by round: median and range. */
function ratiosOf(ours, theirs) {
  const each = ours.map((sample, round) => theirs[round].wall / sample.wall);
  return { median: median(each), low: Math.min(...each), high: Math.max(...each) };
}

/** Who begins changes with every round. */
async function runRounds(rounds, contenders) {
  const samples = contenders.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const who = (turn + round) % contenders.length;
      const { run } = contenders[who];
      if (run) samples[who].push(await run());
    }
  }
  return samples;
}

function describe(contender, samples, ours) {
  if (!contender.run) return { name: contender.name, missing: contender.missing };
  const result = { name: contender.name, ...summarize(samples), samples };
  return samples === ours ? result : { ...result, ratio: ratiosOf(ours, samples) };
}

function judge(target, result) {
  const value = target.of(result);
  const { what, atLeast, atMost, unit = '×' } = target;
  if (value === undefined || Number.isNaN(value)) return { what, unit, atLeast, atMost };
  return {
    what,
    unit,
    atLeast,
    atMost,
    value,
    met: atLeast === undefined ? value <= atMost : value >= atLeast,
  };
}

/**
 * Runs one comparison, prints it, and keeps it in `bench.results`.
 * @param {{runs: number, results: Result[]}} bench what `run.mjs` made.
 * @param {{suite: string, name: string, bytes: number, contenders: Contender[], targets?: Target[]}} what `bytes`: the
 *   data that ours moves, for speeds.
 * @returns {Promise<Result>} contenders in the same order.
 */
export async function contest(bench, { suite, name, bytes, contenders, targets = [] }) {
  const samples = await runRounds(bench.runs, contenders);
  const standings = contenders.map((each, index) => describe(each, samples[index], samples[0]));
  /** @type {Result} */
  const result = { suite, name, bytes, contenders: standings, targets: [] };
  result.targets = targets.map(target => judge(target, result));
  bench.results.push(result);
  reportContest(result);
  return result;
}

/**
 * A target on how many times faster ours is than the contender at `index`.
 * @returns {Target}
 */
export function fasterThan(index, what, atLeast) {
  return { what, atLeast, of: ({ contenders }) => contenders[index].ratio?.median };
}

/**
 * A target on our own peak memory in bytes.
 * @returns {Target}
 */
export function memoryAtMost(bytes) {
  return {
    what: 'peak memory',
    unit: 'MiB',
    atMost: bytes / 2 ** 20,
    of: ({ contenders }) => contenders[0].memory / 2 ** 20,
  };
}
