const BLOCK = 65_536;
const BLOCKS = 256;

/** What a disk needs for the guest's `writer`: bytes. */
export const TICKS_SIZE = BLOCKS * BLOCK;

/** What may be in each block after `count` steps of `writer` in guest-init.sh: numbers of steps, 0 for zeroes. */
function possibleAfter(count: number): readonly ReadonlySet<number>[] {
  const blocks: ReadonlySet<number>[] = Array.from({ length: BLOCKS }, () => new Set([0]));
  for (let number = 1; number <= count; number++) {
    const block = (number * 7_919) % BLOCKS;
    // A discard is advice: QEMU 7.2 drops it as long as a backup job runs, and the guest reads what was there before.
    if (number % 7 === 3) blocks[block] = new Set([...blocks[block]!, 0]);
    else blocks[block] = new Set([number % 7 === 5 ? 0 : number]);
  }
  return blocks;
}

const contentOf = (tick: number): Buffer => Buffer.alloc(BLOCK, tick === 0 ? '\0' : `tick ${tick}\n`);

/** What an empty disk holds after `count` steps, when every discard was done. */
export function contentAfter(count: number): Buffer {
  return Buffer.concat(
    possibleAfter(count).map(ticks => (ticks.has(0) ? contentOf(0) : contentOf([...ticks][0]!))),
  );
}

/** The first block that cannot be so after `count` steps. */
function firstWrong(disk: Buffer, count: number): number | undefined {
  const index = possibleAfter(count).findIndex((ticks, block) => {
    const seen = disk.subarray(block * BLOCK, (block + 1) * BLOCK);
    return ![...ticks].some(tick => seen.equals(contentOf(tick)));
  });
  return index < 0 ? undefined : index;
}

function newestTick(disk: Buffer): number {
  const numbers = Array.from({ length: BLOCKS }, (_, index) => {
    const start = disk.toString('latin1', index * BLOCK, index * BLOCK + 16);
    return Number(/^tick (\d+)\n/.exec(start)?.[1] ?? 0);
  });
  return Math.max(...numbers);
}

/**
 * After how many steps a disk looks like this; zeroing leaves no number, so that it may be one more, but never two.
 * @throws Error when it never does: then it is not of one instant, or blocks of it are wrong.
 */
function possibleTicks(disk: Buffer): readonly number[] {
  const newest = newestTick(disk);
  const counts = [newest, newest + 1].filter(count => firstWrong(disk, count) === undefined);
  if (counts.length > 0) return counts;
  const block = firstWrong(disk, newest);
  throw new Error(`not of one instant: newest step ${newest}, block ${block} is not as it was then`);
}

/** The step that a disk is of, the least possible. @throws Error when it is not of one instant. */
export function ticksOf(disk: Buffer): number {
  return possibleTicks(disk)[0]!;
}

/**
 * The step that two disks, written in this order, were both in. @throws Error when there is none: then each may be of one
 * instant, but not of the same.
 */
export function sharedTick(first: Buffer, second: Buffer): number {
  const [ahead, behind] = [possibleTicks(first), possibleTicks(second)];
  const shared = behind.find(count => ahead.includes(count) || ahead.includes(count + 1));
  if (shared !== undefined) return shared;
  throw new Error(`not of the same instant: one disk is of step ${ahead[0]}, the other of step ${behind[0]}`);
}
