import { NbdeltaError } from '../../errors.js';

/**
 * Takes in bytes where they belong: the giver asks {@link next} for memory, fills a part of it, and says with
 * {@link advance} how much. So a socket can receive straight into its reader's buffer.
 */
export interface ByteSink {
  /** Memory for the next bytes; never empty. */
  next(): Uint8Array;
  /** `length` bytes were written to the start of what {@link next} returned. May throw; the stream is then unusable. */
  advance(length: number): void;
}

/** What a sink hands out. @throws NbdeltaError INTERNAL when that is empty: whoever fills it would ask for ever. */
export function nextMemory(sink: ByteSink): Uint8Array {
  const memory = sink.next();
  if (memory.byteLength > 0) return memory;
  throw new NbdeltaError('INTERNAL', 'no memory for the bytes that come next');
}

/** Gives bytes that lie elsewhere to a sink, by copying. */
export function feed(sink: ByteSink, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.byteLength) {
    const target = nextMemory(sink);
    const taken = Math.min(target.byteLength, bytes.byteLength - at);
    target.set(bytes.subarray(at, at + taken));
    sink.advance(taken);
    at += taken;
  }
}
