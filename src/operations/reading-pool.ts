import { parseCodec } from '../codec/codec-spec.js';
import { type FramePool, openFramePool } from '../codec/frame-pool.js';

/** Threads that only open frames: those of every codec, so the one to be named does not matter. */
export function openReadingPool(threads: number | undefined): FramePool {
  return openFramePool({ codec: parseCodec('none'), ...(threads !== undefined && { threads }) });
}
