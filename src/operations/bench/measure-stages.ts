import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { readChangeMap } from '../../changes/change-map.js';
import { dataPieces, type FramePlan, planFrames } from '../../changes/plan-frames.js';
import { blake3Digest } from '../../codec/blake3.js';
import { parseCodec } from '../../codec/codec-spec.js';
import { findZeroRuns } from '../../codec/zero-runs.js';
import { createCompressor, sealedCapacity } from '../../codec/zstd.js';
import { AbortedError, errorLine, TargetError, UsageError } from '../../errors.js';
import { connectNbd, type NbdClient } from '../../nbd/client/client.js';
import type { NbdUri } from '../../nbd/protocol/uri.js';
import { appendFully } from '../../repository/local-volume.js';
import { PieceReader } from '../piece-reader.js';
import type { StageCost, StageName } from './stage-costs.js';

const MIB = 1 << 20;
const FRAME = MIB;
const FRAMES_READING = 6;
/** Data that is kept for the stages after reading. */
const SAMPLE_FRAMES = 64;
/** Written in one call, as a pack is. */
const PACK_FRAMES = 16;
const DEFAULT_READ = 1 << 30;
const PAGE = 4096;
const DEFAULT_LEVEL = 1;

export interface MeasureStagesOptions {
  /** The export that is read; nothing is written to it. */
  readonly uri: string | NbdUri;
  /** Most bytes of data that are read; default 1 GiB. At least a frame, 1 MiB. */
  readonly readBytes?: number | undefined;
  /** zstd level; default 1. */
  readonly level?: number | undefined;
  /** Where a file of at most 64 MiB is written and removed; default the system's temporary folder. */
  readonly folder?: string | undefined;
  readonly connections?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface MeasuredStages {
  readonly stages: readonly StageCost[];
  /** What was read to nothing: the whole pipe from the server to our memory. Bytes, and seconds by the clock. */
  readonly read: { readonly bytes: number; readonly seconds: number };
  readonly connections: number;
}

/**
 * Runs the stages of a full backup one after another, each alone, and counts the CPU that each takes. Nothing else
 * should run in this process meanwhile: it would be counted too.
 * @throws UsageError when the export has no data to measure with.
 */
export async function measureStages(options: MeasureStagesOptions): Promise<MeasuredStages> {
  const readBytes = options.readBytes ?? DEFAULT_READ;
  if (readBytes < FRAME) throw new UsageError(`${readBytes} bytes to read, expected at least ${FRAME}`);
  const { level } = parseCodec(`zstd:${options.level ?? DEFAULT_LEVEL}`);
  const meter = new StageMeter(options.signal);
  const client = await meter.run('negotiate', async () => {
    const connected = await connectNbd(options.uri, {
      ...(options.connections !== undefined && { connections: options.connections }),
      ...(options.signal && { signal: options.signal }),
    });
    return { bytes: 0, result: connected };
  });
  await using _client = client;
  const map = await meter.run('map', async () => ({
    bytes: client.size,
    result: await readChangeMap(client, { signal: options.signal }),
  }));
  const plans = plansUpTo(planFrames(map, FRAME), readBytes);
  if (plans.length === 0) throw new UsageError('the export has no data: nothing can be measured');
  const started = performance.now();
  const bytes = await meter.run('read', async () => {
    const sum = await readToNothing(client, plans, options.signal);
    return { bytes: sum, result: sum };
  });
  const read = { bytes, seconds: (performance.now() - started) / 1000 };
  const { connections } = client;
  const frames = await readSample(client, plans);
  const stored = await measureCodec(meter, frames, level);
  await measureWrite(meter, stored, options.folder ?? tmpdir());
  return { stages: meter.costs, read, connections };
}

/** Counts what stages cost. */
class StageMeter {
  readonly costs: StageCost[] = [];
  readonly #signal: AbortSignal | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** A turn for the event loop. @throws AbortedError */
  async giveWay(): Promise<void> {
    await nextTurn();
    if (this.#signal?.aborted) throw new AbortedError('bench', this.#signal.reason);
  }

  async run<Result>(
    stage: StageName,
    work: () => Promise<{ readonly bytes: number; readonly result: Result }>,
  ): Promise<Result> {
    await this.giveWay();
    const before = process.cpuUsage();
    const { bytes, result } = await work();
    const { user, system } = process.cpuUsage(before);
    this.costs.push({ stage, bytes, cpuSeconds: (user + system) / 1e6 });
    return result;
  }
}

function plansUpTo(plans: Iterable<FramePlan>, most: number): readonly FramePlan[] {
  const taken: FramePlan[] = [];
  let bytes = 0;
  for (const plan of plans) {
    if (plan.rawLength === 0) continue;
    if (bytes + plan.rawLength > most) break;
    taken.push(plan);
    bytes += plan.rawLength;
  }
  return taken;
}

/** Reads as a backup does, into a fixed set of buffers. */
async function readToNothing(
  client: NbdClient,
  plans: readonly FramePlan[],
  signal: AbortSignal | undefined,
): Promise<number> {
  const reader = new PieceReader(client);
  const queue = plans.values();
  let bytes = 0;
  const work = async () => {
    const buffer = new ArrayBuffer(FRAME);
    for (const plan of queue) {
      if (signal?.aborted) throw new AbortedError('bench', signal.reason);
      await reader.read(dataPieces(plan), buffer, () => undefined);
      bytes += plan.rawLength;
    }
  };
  const results = await Promise.allSettled(Array.from({ length: FRAMES_READING }, work));
  const failed = results.find(result => result.status === 'rejected');
  if (failed) throw failed.reason;
  return bytes;
}

async function readSample(client: NbdClient, plans: readonly FramePlan[]): Promise<readonly Uint8Array[]> {
  const reader = new PieceReader(client);
  const frames: Uint8Array[] = [];
  const count = Math.min(SAMPLE_FRAMES, plans.length);
  for (let index = 0; index < count; index++) {
    // Spread over what was read: the beginning of a disk is not like the rest.
    const plan = plans[Math.floor((index * plans.length) / count)]!;
    const buffer = new ArrayBuffer(plan.rawLength);
    await reader.read(dataPieces(plan), buffer, () => undefined);
    frames.push(new Uint8Array(buffer));
  }
  return frames;
}

async function measureCodec(
  meter: StageMeter,
  frames: readonly Uint8Array[],
  level: number,
): Promise<readonly Uint8Array[]> {
  const raw = frames.reduce((sum, frame) => sum + frame.length, 0);
  for (const frame of frames) touch(frame);
  await meter.run('zero test', async () => {
    for (const frame of frames) findZeroRuns(frame, Uint32Array.of(frame.length));
    return { bytes: raw, result: undefined };
  });
  await meter.run('digest', async () => {
    for (const frame of frames) blake3Digest(frame);
    return { bytes: raw, result: undefined };
  });
  const compressor = createCompressor(level);
  // Made and touched before they are measured: a backup uses its buffers again and again.
  const outs = frames.map(frame => new Uint8Array(sealedCapacity(frame.length)).fill(1));
  const stored = await meter.run('compress', async () => {
    const result: Uint8Array[] = [];
    for (const [index, frame] of frames.entries()) {
      result.push(outs[index]!.subarray(0, compressor.compress(outs[index]!, frame)));
      // At a high level a frame takes a second: whoever wants to stop is heard in between.
      await meter.giveWay();
    }
    return { bytes: raw, result };
  });
  const storedBytes = stored.reduce((sum, bytes) => sum + bytes.length, 0);
  await meter.run('digest of what is stored', async () => {
    for (const bytes of stored) blake3Digest(bytes);
    return { bytes: storedBytes, result: undefined };
  });
  return stored;
}

/**
 * Looks at every page once. Only the kernel has been there when data was read into new memory, and on a virtual machine the
 * first look from here can cost more than the zero test; a backup uses its buffers again and again.
 */
function touch(memory: Uint8Array): void {
  for (let at = 0; at < memory.length; at += PAGE) memory[at] = memory[at]!;
}

async function measureWrite(meter: StageMeter, chunks: readonly Uint8Array[], folder: string): Promise<void> {
  const place = await mkdtemp(join(folder, 'nbdelta-bench-')).catch(cause => {
    throw cannotWrite(folder, cause);
  });
  const path = join(place, 'written');
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  try {
    const file = await open(path, 'wx');
    try {
      await meter.run('write', async () => {
        for (let at = 0; at < chunks.length; at += PACK_FRAMES) {
          await appendFully(file, path, chunks.slice(at, at + PACK_FRAMES)).catch(cause => {
            throw cannotWrite(folder, cause);
          });
        }
        return { bytes, result: undefined };
      });
    } finally {
      await file.close();
    }
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

function cannotWrite(folder: string, cause: unknown): TargetError {
  return new TargetError('TARGET_INVALID', `cannot write a file in ${folder}: ${errorLine(cause)}`, {
    cause,
    hint: 'name a folder with 64 MiB of room: --dir FOLDER',
  });
}
