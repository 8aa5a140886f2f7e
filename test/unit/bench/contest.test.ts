import { describe, expect, it } from 'vitest';
import { contest, fasterThan, median } from '../../../bench/contest.mjs';
import { plotResults } from '../../../bench/plot.mjs';

/** A contender whose runs take what the list says, and who tells when it runs. */
function contender(name: string, walls: readonly number[], order: string[]) {
  let run = 0;
  return {
    name,
    run: async () => {
      order.push(name);
      return { wall: walls[run++]!, cpu: 1, memory: 2 ** 20 };
    },
  };
}

describe('a comparison of the benchmark', () => {
  it('runs each contender once a round, and another one begins each time', async () => {
    const order: string[] = [];
    const contenders = ['a', 'b', 'c'].map(name => contender(name, [1, 1, 1], order));
    await contest({ runs: 3, results: [] }, { suite: 's', name: 'n', bytes: 1, contenders });
    expect(order.join('')).toBe('abcbcacab');
  });

  it('compares round by round, and takes the median of the ratios', async () => {
    const bench = { runs: 3, results: [] };
    const contenders = [contender('ours', [1, 2, 4], []), contender('theirs', [3, 2, 8], [])];
    const targets = [fasterThan(1, 'as fast', 2), fasterThan(1, 'as fast', 2.1)];
    const result = await contest(bench, { suite: 's', name: 'n', bytes: 1, contenders, targets });
    // 3/1, 2/2 and 8/4: not the ratio of the medians, which is 3/2.
    expect(result.contenders[1]?.ratio).toEqual({ median: 2, low: 1, high: 3 });
    expect(result.targets.map(target => target.met)).toEqual([true, false]);
    expect(bench.results).toEqual([result]);
  });

  it('names who is missing, and judges nothing by it', async () => {
    const missing = { name: 'theirs', missing: 'not installed' };
    const contenders = [contender('ours', [1], []), missing];
    const targets = [fasterThan(1, 'as fast', 2)];
    const what = { suite: 's', name: 'n', bytes: 1, contenders, targets };
    const result = await contest({ runs: 1, results: [] }, what);
    expect(result.contenders[1]).toEqual(missing);
    expect(result.targets[0]).not.toHaveProperty('met');
    expect(plotResults([result], ['a machine'])).not.toContain('theirs');
  });

  it('is plotted with its ratio, and with names that are safe in XML', async () => {
    const contenders = [contender('ours', [1], []), contender('<them> & co', [3], [])];
    const result = await contest({ runs: 1, results: [] }, { suite: 's', name: 'n', bytes: 1, contenders });
    const plot = plotResults([result], ['a machine']);
    expect(plot).toContain('&lt;them&gt; &amp; co');
    expect(plot).toContain('3.00× (3.00–3.00)');
  });

  it('knows medians of odd and even counts', () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
  });
});
