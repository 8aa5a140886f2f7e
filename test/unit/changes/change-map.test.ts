import { describe, expect, it } from 'vitest';
import { readChangeMap } from '#nbdelta/changes/change-map.js';
import type { StatusSource } from '#nbdelta/changes/status-source.js';
import type { StatusRun } from '#nbdelta/nbd/client/status-run.js';
import { ALLOCATION, BITMAP, run } from './scripted-status-source.js';

/** Answers in order, whatever is asked; the requests are kept. */
function scripted(
  size: number,
  replies: readonly Readonly<Record<string, StatusRun>>[],
  contexts?: string[],
) {
  const requests: [number, number][] = [];
  const queue = [...replies];
  const source: StatusSource = {
    size,
    contexts: contexts ?? Object.keys(replies[0] ?? {}),
    blockStatus: (offset, length) => {
      requests.push([offset, length]);
      const reply = queue.shift();
      if (!reply) throw new Error(`unexpected request ${offset}+${length}`);
      return Promise.resolve(new Map(Object.entries(reply)));
    },
  };
  return { source, requests };
}

const KINDS = ['data', 'zero', 'unchanged'];

async function map(
  source: StatusSource,
  options: Parameters<typeof readChangeMap>[1] = {},
): Promise<string[]> {
  const list = await readChangeMap(source, options);
  return [...list].map(({ offset, length, kind }) => `${offset}+${length} ${KINDS[kind]}`);
}

const INCREMENTAL = { bitmap: 'b' };

describe('a full', () => {
  it('reads data, keeps zeroes, and reads a hole that does not promise zeroes', async () => {
    const { source, requests } = scripted(100, [
      { [ALLOCATION]: run(0, [10, 0], [10, 3], [10, 1], [10, 2], [60, 0]) },
    ]);
    expect(await map(source)).toEqual(['0+10 data', '10+10 zero', '20+10 data', '30+10 zero', '40+60 data']);
    expect(requests).toEqual([[0, 100]]);
  });

  it('ignores flags that it does not know', async () => {
    const { source } = scripted(4, [{ [ALLOCATION]: run(0, [2, 0xfffffffc], [2, 0xffffffff]) }]);
    expect(await map(source)).toEqual(['0+2 data', '2+2 zero']);
  });

  it('without base:allocation reads everything', async () => {
    const { source, requests } = scripted(100, [], []);
    expect(await map(source)).toEqual(['0+100 data']);
    expect(requests).toEqual([]);
  });

  it('of an empty disk is empty', async () => {
    const { source } = scripted(0, [], [ALLOCATION]);
    expect(await map(source)).toEqual([]);
  });

  it('joins equal neighbours, also across replies', async () => {
    const { source, requests } = scripted(30, [
      { [ALLOCATION]: run(0, [5, 0], [5, 0]) },
      { [ALLOCATION]: run(10, [5, 0], [15, 3]) },
    ]);
    expect(await map(source)).toEqual(['0+15 data', '15+15 zero']);
    expect(requests).toEqual([
      [0, 30],
      [10, 20],
    ]);
  });

  it('clips an extent that overruns the disk', async () => {
    const { source } = scripted(1_000_001, [{ [ALLOCATION]: run(0, [65536, 3], [2 ** 40, 0]) }]);
    expect(await map(source)).toEqual(['0+65536 zero', '65536+934465 data']);
  });

  it('skips extents wholly behind the end', async () => {
    const { source } = scripted(10, [{ [ALLOCATION]: run(0, [10, 0], [10, 3], [10, 0]) }]);
    expect(await map(source)).toEqual(['0+10 data']);
  });
});

describe('an incremental', () => {
  it('is what is dirty; dirty and zero is a zero, clean is nothing', async () => {
    const { source } = scripted(80, [
      {
        [ALLOCATION]: run(0, [10, 0], [10, 3], [10, 0], [10, 3], [40, 1]),
        [BITMAP]: run(0, [20, 1], [20, 0], [20, 1], [20, 0]),
      },
    ]);
    expect(await map(source, INCREMENTAL)).toEqual(['0+10 data', '10+10 zero', '40+20 data']);
  });

  it('knows only bit 0 of the bitmap', async () => {
    const { source } = scripted(4, [{ [ALLOCATION]: run(0, [4, 0]), [BITMAP]: run(0, [2, 2], [2, 3]) }]);
    expect(await map(source, INCREMENTAL)).toEqual(['2+2 data']);
  });

  it('gives each context its own cursor: the lowest is asked for, what is known stays known', async () => {
    const { source, requests } = scripted(100, [
      { [ALLOCATION]: run(0, [10, 0]), [BITMAP]: run(0, [100, 1]) },
      // The bitmap's second answer contradicts the first and is not used.
      { [ALLOCATION]: run(10, [70, 3]), [BITMAP]: run(10, [90, 0]) },
      { [ALLOCATION]: run(80, [20, 0]), [BITMAP]: run(80, [20, 0]) },
    ]);
    expect(await map(source, INCREMENTAL)).toEqual(['0+10 data', '10+70 zero', '80+20 data']);
    expect(requests).toEqual([
      [0, 100],
      [10, 90],
      [80, 20],
    ]);
  });

  it('works when the bitmap is the shorter one', async () => {
    const { source } = scripted(100, [
      { [ALLOCATION]: run(0, [100, 0]), [BITMAP]: run(0, [30, 0]) },
      { [ALLOCATION]: run(30, [70, 0]), [BITMAP]: run(30, [30, 1]) },
      { [ALLOCATION]: run(60, [40, 3]), [BITMAP]: run(60, [40, 0]) },
    ]);
    expect(await map(source, INCREMENTAL)).toEqual(['30+30 data']);
  });

  it('keeps a granularity of 4 KiB and an odd tail', async () => {
    const size = 5 * 4096 + 123;
    const { source } = scripted(size, [
      { [ALLOCATION]: run(0, [size, 0]), [BITMAP]: run(0, [4096, 0], [4096, 1], [12288, 0], [123, 1]) },
    ]);
    expect(await map(source, INCREMENTAL)).toEqual(['4096+4096 data', '20480+123 data']);
  });

  it('clips a bitmap that is rounded up to its granularity', async () => {
    const { source } = scripted(70_000, [
      { [ALLOCATION]: run(0, [70_000, 0]), [BITMAP]: run(0, [65_536, 0], [65_536, 1]) },
    ]);
    expect(await map(source, INCREMENTAL)).toEqual(['65536+4464 data']);
  });

  it('without base:allocation reads all that is dirty', async () => {
    const { source } = scripted(10, [{ [BITMAP]: run(0, [5, 1], [5, 0]) }]);
    expect(await map(source, INCREMENTAL)).toEqual(['0+5 data']);
  });

  it('without its bitmap fails: never "nothing is dirty"', async () => {
    const { source, requests } = scripted(10, [], [ALLOCATION]);
    await expect(map(source, INCREMENTAL)).rejects.toMatchObject({
      code: 'NBD_CONTEXT_MISSING',
      message: expect.stringContaining('"b"'),
      fields: { bitmap: 'b' },
    });
    expect(requests).toEqual([]);
  });
});

describe('a disk that grew', () => {
  const reply = { [ALLOCATION]: run(0, [60, 0], [40, 3]), [BITMAP]: run(0, [10, 1], [90, 0]) };
  it.each([
    [50, ['0+10 data', '50+10 data', '60+40 zero']],
    [0, ['0+60 data', '60+40 zero']],
    [5, ['0+60 data', '60+40 zero']],
    [100, ['0+10 data']],
    [1000, ['0+10 data']],
    [99, ['0+10 data', '99+1 zero']],
  ])('has everything from %d on changed', async (changedFrom, expected) => {
    const { source } = scripted(100, [reply]);
    expect(await map(source, { ...INCREMENTAL, changedFrom })).toEqual(expected);
  });
});

describe('a server that makes no progress', () => {
  it.each([
    ['no extent', run(0)],
    ['a run that ends where it was', run(0, [10, 0])],
    ['a run that starts too late', run(11, [89, 0])],
  ])('%s', async (_name, second) => {
    const { source, requests } = scripted(100, [{ [ALLOCATION]: run(0, [10, 0]) }, { [ALLOCATION]: second }]);
    await expect(map(source)).rejects.toMatchObject({ code: 'NBD_PROTOCOL' });
    expect(requests).toHaveLength(2);
  });
});

describe('on the way', () => {
  it('tells how far it is', async () => {
    const progress: number[] = [];
    const { source } = scripted(100, [
      { [ALLOCATION]: run(0, [40, 0]) },
      { [ALLOCATION]: run(40, [100, 0]) },
    ]);
    await map(source, { onProgress: mapped => progress.push(mapped) });
    expect(progress).toEqual([40, 100]);
  });

  it('stops on request', async () => {
    const controller = new AbortController();
    const { source, requests } = scripted(100, [{ [ALLOCATION]: run(0, [40, 0]) }]);
    const reading = map(source, { signal: controller.signal, onProgress: () => controller.abort() });
    await expect(reading).rejects.toMatchObject({ code: 'ABORTED' });
    expect(requests).toHaveLength(1);
  });
});
