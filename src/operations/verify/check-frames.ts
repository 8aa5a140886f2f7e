import { frameCapacity, loadFrame } from '../../chain/load-frame.js';
import type { OpenChain } from '../../chain/open-chain.js';
import type { FramePool } from '../../codec/frame-pool.js';
import { AbortedError } from '../../errors.js';
import { BufferSlots } from '../buffer-slots.js';
import { framesInFlight } from '../frames-in-flight.js';

export interface CheckFramesOptions {
  readonly pool: FramePool;
  readonly signal?: AbortSignal | undefined;
  /** Told of every frame that is as it should be. Bytes before compression. */
  readonly onChecked: (bytes: number) => void;
  /** Told of every one that is not; false: enough is known. Throws what must end the run. */
  readonly onDamaged: (error: unknown) => boolean;
}

/** Reads, decodes and checks frames of the one archive of `chain`. When it settles, nothing is under way any more. */
export async function checkFrames(
  chain: OpenChain,
  frames: Iterable<number>,
  { pool, signal, onChecked, onDamaged }: CheckFramesOptions,
): Promise<void> {
  const capacity = frameCapacity(chain);
  const inFlight = framesInFlight(pool.threads);
  const stored = new BufferSlots(inFlight, capacity.stored);
  const raw = new BufferSlots(inFlight, capacity.raw);
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  let goesOn = true;
  for (const frame of frames) {
    if (!goesOn || failures.length > 0 || signal?.aborted) break;
    const buffers = { stored: await stored.acquire(), raw: await raw.acquire() };
    const work = loadFrame(chain, 0, frame, buffers, pool, { checkStored: true })
      .then(onChecked, error => {
        goesOn = onDamaged(error) && goesOn;
      })
      // A failure waits until nothing is under way: the archive and the pool are closed after that.
      .catch(error => void failures.push(error))
      .finally(() => {
        stored.release(buffers.stored);
        raw.release(buffers.raw);
        running.delete(work);
      });
    running.add(work);
  }
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
  if (signal?.aborted) throw new AbortedError('verify', signal.reason);
}
