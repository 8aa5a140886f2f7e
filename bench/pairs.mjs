/** Paired runs: both sides in turn, so that what else the machine does hits both alike. */

export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Medians of wall and cpu, and the highest memory. */
function summarize(samples) {
  return {
    wall: median(samples.map(sample => sample.wall)),
    cpu: median(samples.map(sample => sample.cpu)),
    memory: Math.max(...samples.map(sample => sample.memory)),
  };
}

/** The median of how many times faster the first is than the second, pair by pair, and its range. */
function ratios(ours, theirs) {
  const each = ours.map((sample, index) => theirs[index].wall / sample.wall);
  return { ratio: median(each), low: Math.min(...each), high: Math.max(...each) };
}

/**
 * Runs two sides `runs` times in turn; who begins changes with every pair. `theirs` may be missing.
 * @param ours, theirs functions that run once and return a sample of `runTimed`.
 */
export async function comparePairs(runs, ours, theirs) {
  const samples = { ours: [], theirs: [] };
  const sides = { ours, theirs };
  for (let run = 0; run < runs; run++) {
    const order = run % 2 ? ['theirs', 'ours'] : ['ours', 'theirs'];
    for (const side of order) if (sides[side]) samples[side].push(await sides[side]());
  }
  const result = { ours: summarize(samples.ours) };
  if (!theirs) return result;
  return { ...result, theirs: summarize(samples.theirs), ...ratios(samples.ours, samples.theirs) };
}
