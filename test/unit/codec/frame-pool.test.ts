import { describe, expect, test } from 'vitest';
import { parseCodec } from '#nbdelta/codec/codec-spec.js';
import type { FrameWorkerData, SealRequest } from '#nbdelta/codec/frame-messages.js';
import { type FramePool, openFramePool, sealedCapacity } from '#nbdelta/codec/frame-pool.js';
import { WorkerTeam } from '#nbdelta/codec/worker-team.js';
import { AbortedError, NbdeltaError, UsageError } from '#nbdelta/errors.js';

const LENGTH = 300_000;
const codec = parseCodec('zstd:1');

function job(seed: number) {
  const raw = new ArrayBuffer(LENGTH + 1000);
  const bytes = new Uint8Array(raw);
  for (let at = 0; at < LENGTH; at++) bytes[at] = (at >> 4) + seed;
  bytes.fill(0, 100_000, 200_000);
  const pieceLengths = Uint32Array.of(1000, LENGTH - 1000);
  return { raw, rawLength: LENGTH, pieceLengths, out: new ArrayBuffer(sealedCapacity(LENGTH)) };
}

async function sealed(pool: FramePool, seed = 1) {
  const frame = await pool.seal(job(seed));
  const { out, storedLength, liveLength, digest, storedDigest } = frame;
  const raw = new Uint8Array(frame.raw).slice(0, liveLength);
  return {
    raw,
    stored: out,
    storedLength,
    out: frame.raw,
    rawLength: liveLength,
    digest,
    storedDigest,
    checkStored: true,
    frame,
  };
}

describe('frame pool', () => {
  test('seals and opens many frames on several threads; buffers travel and come back', async () => {
    await using pool = openFramePool({ threads: 3, codec });
    await Promise.all(
      Array.from({ length: 30 }, async (_, seed) => {
        const given = job(seed);
        const expected = new Uint8Array(given.raw).slice(0, LENGTH);
        const pending = pool.seal(given);
        const frame = await pending;
        expect(given.raw.byteLength).toBe(0);
        expect(frame.raw.byteLength).toBe(LENGTH + 1000);
        expect(Array.from(frame.zeroRuns)).toEqual([1, 99_000, 100_000]);
        expect(frame.liveLength).toBe(LENGTH - 100_000);
        const { storedLength, liveLength: rawLength, digest, storedDigest } = frame;
        // Digests as views into a table, as the reader has them.
        const table = new Uint8Array(1000);
        table.set(digest, 100);
        const opened = await pool.open({
          stored: frame.out,
          storedLength,
          out: new ArrayBuffer(rawLength),
          rawLength,
          digest: table.subarray(100, 132),
          storedDigest,
          checkStored: true,
        });
        expect(opened.ok).toBe(true);
        const live = Buffer.concat([expected.subarray(0, 100_000), expected.subarray(200_000)]);
        expect(live.equals(new Uint8Array(opened.out))).toBe(true);
      }),
    );
  });

  test('digests bytes as it does those of a frame, and gives the buffer back unchanged', async () => {
    await using pool = openFramePool({ threads: 2, codec });
    const { raw, digest, rawLength } = await sealed(pool);
    const buffer = new ArrayBuffer(rawLength + 5);
    new Uint8Array(buffer).set(raw);
    const digested = await pool.digest({ raw: buffer, rawLength });
    expect(Buffer.compare(digested.digest, digest)).toBe(0);
    expect(buffer.byteLength).toBe(0);
    expect(Buffer.compare(new Uint8Array(digested.raw, 0, rawLength), raw)).toBe(0);
    await expect(pool.digest({ raw: buffer, rawLength })).rejects.toThrow(UsageError);
    await expect(pool.digest({ raw: digested.raw, rawLength: 0 })).rejects.toThrow(UsageError);
  });

  test('a zero frame stores nothing', async () => {
    await using pool = openFramePool({ threads: 1, codec });
    const given = { ...job(0), raw: new ArrayBuffer(LENGTH) };
    expect(await pool.seal(given)).toMatchObject({
      liveLength: 0,
      storedLength: 0,
      zeroRuns: Uint32Array.of(0, 0, 1000, 1, 0, LENGTH - 1000),
    });
  });

  test('damage is a result that names the check, with the buffers', async () => {
    await using pool = openFramePool({ threads: 1, codec });
    const wrongDigest = { ...(await sealed(pool)), digest: new Uint8Array(32) };
    const size = wrongDigest.stored.byteLength;
    const result = await pool.open(wrongDigest);
    expect(result).toMatchObject({ ok: false, check: 'digest' });
    expect([result.stored.byteLength, result.out.byteLength]).toEqual([size, LENGTH + 1000]);
    expect(await pool.open({ ...(await sealed(pool)), storedDigest: new Uint8Array(16) })).toMatchObject({
      ok: false,
      check: 'stored-digest',
    });
    const longer = await sealed(pool);
    expect(await pool.open({ ...longer, rawLength: longer.rawLength + 1 })).toMatchObject({
      ok: false,
      check: 'length',
    });
    expect(await pool.open(await sealed(pool))).toMatchObject({ ok: true });
  });

  test('detached and small buffers, and lengths that make no sense, are refused untouched', async () => {
    await using pool = openFramePool({ threads: 1, codec });
    const detached = job(1);
    structuredClone(detached.raw, { transfer: [detached.raw] });
    await expect(pool.seal(detached)).rejects.toThrow(UsageError);
    expect(detached.out.byteLength).toBeGreaterThan(0);
    await expect(pool.seal({ ...job(1), rawLength: LENGTH + 1001 })).rejects.toThrow(UsageError);
    await expect(pool.seal({ ...job(1), rawLength: 0 })).rejects.toThrow(UsageError);
    await expect(pool.seal({ ...job(1), out: new ArrayBuffer(LENGTH) })).rejects.toThrow(UsageError);
    const good = await sealed(pool);
    await expect(pool.open({ ...good, digest: good.digest.subarray(1) })).rejects.toThrow(UsageError);
    await expect(pool.open({ ...good, out: new ArrayBuffer(5) })).rejects.toThrow(UsageError);
    expect((await pool.open(good)).ok).toBe(true);
  });

  test('the same buffer twice: the second job fails, the first and later ones do not', async () => {
    await using pool = openFramePool({ threads: 1, codec });
    const given = job(1);
    const [first, second] = await Promise.allSettled([
      pool.seal(given),
      pool.seal({ ...given, out: job(2).out }),
    ]);
    expect(first.status).toBe('fulfilled');
    expect(second).toMatchObject({ status: 'rejected', reason: expect.any(NbdeltaError) });
    expect((await pool.seal(job(3))).liveLength).toBe(LENGTH - 100_000);
  });

  test('a job that makes no sense to the worker fails alone', async () => {
    await using pool = openFramePool({ threads: 1, codec });
    await expect(pool.seal({ ...job(1), pieceLengths: Uint32Array.of(5) })).rejects.toMatchObject({
      code: 'INTERNAL',
    });
    expect((await pool.seal(job(1))).liveLength).toBe(LENGTH - 100_000);
  });

  test('closing settles every job, twice is fine, later jobs are refused', async () => {
    const pool = openFramePool({ threads: 2, codec });
    const jobs = Promise.allSettled(Array.from({ length: 20 }, (_, seed) => pool.seal(job(seed))));
    await Promise.all([pool[Symbol.asyncDispose](), pool[Symbol.asyncDispose]()]);
    await pool[Symbol.asyncDispose]();
    const results = await jobs;
    const errors = results.flatMap(result =>
      result.status === 'rejected' ? [result.reason as unknown] : [],
    );
    expect(errors).toHaveLength(20);
    expect(errors.every(error => error instanceof AbortedError)).toBe(true);
    expect(new Set(errors).size).toBe(20);
    await expect(pool.seal(job(1))).rejects.toThrow(AbortedError);
    await openFramePool({ codec })[Symbol.asyncDispose]();
  });

  test('a worker that dies fails its jobs and all later ones', async () => {
    // A thread that cannot even start ends with an uncaught error, as one that runs out of memory does.
    const team = new WorkerTeam(1, null as unknown as FrameWorkerData);
    const request = (): SealRequest => ({ kind: 'seal', job: team.nextJob(), ...job(1) });
    const jobs = Array.from({ length: 5 }, () => team.run(request(), []));
    for (const result of await Promise.allSettled(jobs)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'INTERNAL' } });
    }
    await expect(team.run(request(), [])).rejects.toMatchObject({ code: 'INTERNAL' });
    await team.close();
  });

  test.each([0, -1, 1.5, Number.NaN])('%s threads are refused', threads => {
    expect(() => openFramePool({ threads, codec })).toThrow(UsageError);
  });
});
