const MIB = 1 << 20;

/** Takes bytes for a place on a disk. */
export type WriteBytes = (offset: number, bytes: Uint8Array) => void;

/** Size of the demo's disk. Bytes. */
export const DEMO_DISK_SIZE = 256 * MIB;

/** Where the demo's disk has what. MiB. */
const TEXT_AREAS = [
  [4, 32],
  [200, 2],
] as const;
const RANDOM_AREAS = [
  [0, 1],
  [48, 24],
] as const;
const ZERO_AREA = [80, 4] as const;
/** Every second MiB of it: a disk that was written to here and there. */
const CHECKERED_AREA = [96, 24] as const;

/** What the disk looks like at first, for people. */
export const DEMO_CONTENT =
  '46 MiB of log text, 25 MiB that no codec can shrink, 4 MiB of written zeroes, the rest never written';

/** Writes the disk's first content; the same at every run. */
export function writeFirstContent(write: WriteBytes): void {
  const random = new NumberStream(1);
  for (const [start, length] of TEXT_AREAS) write(start * MIB, logText(length * MIB, random));
  for (const [start, length] of RANDOM_AREAS) write(start * MIB, randomBytes(length * MIB, random));
  write(ZERO_AREA[0] * MIB, new Uint8Array(ZERO_AREA[1] * MIB));
  const [start, length] = CHECKERED_AREA;
  for (let at = start; at < start + length; at += 2) write(at * MIB, logText(MIB, random));
}

/** A change to the disk. Bytes. */
export interface DemoChange {
  readonly kind: 'write' | 'zero' | 'discard';
  readonly offset: number;
  readonly length: number;
}

/** Everything that a guest would do between two backups, and how people would call it. */
export interface DemoChanges {
  readonly changes: readonly DemoChange[];
  readonly lines: readonly string[];
}

/** Small writes all over the text, old data zeroed and discarded, and a region far away. */
export function planChanges(): DemoChanges {
  const random = new NumberStream(2);
  const small = Array.from({ length: 96 }, () => ({
    kind: 'write' as const,
    offset: (4 + random.below(31)) * MIB + random.below(MIB / 512) * 512,
    length: (1 + random.below(64)) * 512,
  }));
  const zero = { kind: 'zero', offset: 52 * MIB, length: 8 * MIB } as const;
  const discard = { kind: 'discard', offset: 104 * MIB, length: 4 * MIB } as const;
  const far = { kind: 'write', offset: 240 * MIB + 1536, length: 3 * MIB + 512 } as const;
  return {
    changes: [...small, zero, discard, far],
    lines: [
      '96 writes of 512 bytes to 32 KiB scattered over the log text',
      '8 MiB of old data at 52 MiB overwritten with zeroes',
      '4 MiB at 104 MiB discarded',
      '3 MiB of new data far away, at 240 MiB, not aligned to anything',
    ],
  };
}

const WORDS =
  'GET POST /index /login /cart 200 404 500 user session cache miss hit slow query retry ok'.split(' ');

/** Lines of a web server's log: shrinks as such text does, and repeats nowhere. */
export function logText(length: number, random = new NumberStream(3)): Uint8Array {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; ) {
    const words = Array.from({ length: 6 }, () => WORDS[random.below(WORDS.length)]!).join(' ');
    at += bytes.write(
      `2026-11-22 ${random.next().toString(36)} ${words} ${random.below(10_000)} ms\n`,
      at,
      'latin1',
    );
    if (length - at < 128) at += bytes.subarray(at).fill(0x2e).length;
  }
  return bytes;
}

function randomBytes(length: number, random: NumberStream): Uint8Array {
  const words = new Uint32Array(length / 4);
  for (let index = 0; index < words.length; index++) words[index] = random.next();
  return new Uint8Array(words.buffer);
}

/** The same numbers at every run (xorshift32). */
class NumberStream {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 0x9e3779b1;
  }

  /** From 0 to 2^32 - 1. */
  next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return state >>> 0;
  }

  below(limit: number): number {
    return this.next() % limit;
  }
}
