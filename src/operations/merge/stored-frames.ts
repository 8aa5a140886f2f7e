import { damagedFrame } from '../../chain/load-frame.js';
import { nameLink, type OpenChain } from '../../chain/open-chain.js';
import { storedDigestOf } from '../../codec/blake3.js';
import { AbortedError } from '../../errors.js';
import { BufferSlots } from '../buffer-slots.js';

/** Reads under way. The slots beyond them are for frames that the writer holds. */
const READS_AT_ONCE = 8;
/** One pack that fills and one that is being written, 16 frames each. */
const FRAMES_HELD = 32;

export interface FramePlace {
  readonly archive: number;
  readonly frame: number;
}

/** A frame as it is stored, checked against the digest of its stored bytes. */
export interface ReadFrame extends FramePlace {
  readonly stored: Uint8Array;
  release(): void;
}

/**
 * Reads frames as they are, ahead and in order. Memory is bounded by the slots; when it ends, for whatever reason, no
 * read is under way any more.
 * @throws DamagedError naming point, disk and range.
 */
export async function* readStoredFrames(
  chain: OpenChain,
  places: Iterable<FramePlace>,
  capacity: number,
  signal?: AbortSignal,
): AsyncGenerator<ReadFrame, void, undefined> {
  const slots = new BufferSlots(READS_AT_ONCE + FRAMES_HELD, capacity);
  const ahead: Promise<ReadFrame>[] = [];
  try {
    for (const place of places) {
      if (signal?.aborted) throw new AbortedError('merge', signal.reason);
      const read = readFrame(chain, place, slots);
      // Whoever waits for it gets the error; until then it is nobody's.
      read.catch(() => undefined);
      ahead.push(read);
      if (ahead.length >= READS_AT_ONCE) yield await ahead.shift()!;
    }
    while (ahead.length > 0) yield await ahead.shift()!;
  } finally {
    await Promise.allSettled(ahead);
  }
}

async function readFrame(chain: OpenChain, place: FramePlace, slots: BufferSlots): Promise<ReadFrame> {
  const { archive, frame } = place;
  const reader = chain.archives[archive]!;
  const buffer = await slots.acquire();
  const stored = new Uint8Array(buffer, 0, reader.frames.storedLengthAt(frame));
  try {
    await reader.readStored(frame, stored);
  } catch (error) {
    const { point, disk } = chain.links[archive]!;
    throw nameLink(error, chain.machine, point.id, disk.name);
  }
  if (!Buffer.from(reader.frames.storedDigestAt(frame)).equals(storedDigestOf(stored))) {
    throw damagedFrame(chain, archive, frame, 'digest of its stored bytes');
  }
  return { archive, frame, stored, release: () => slots.release(buffer) };
}
