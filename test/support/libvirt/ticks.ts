const BLOCK = 65_536;
const BLOCKS = 256;

/** What a disk needs for the guest's `writer`: bytes. */
export const TICKS_SIZE = BLOCKS * BLOCK;

/** What a disk that was empty holds after `count` steps of `writer` in guest-init.sh: the same rules once more. */
export function contentAfter(count: number): Buffer {
  const disk = Buffer.alloc(TICKS_SIZE);
  for (let number = 1; number <= count; number++) {
    const offset = ((number * 7_919) % BLOCKS) * BLOCK;
    const isZero = number % 7 === 3 || number % 7 === 5;
    disk.fill(isZero ? '\0' : `tick ${number}\n`, offset, offset + BLOCK);
  }
  return disk;
}

/**
 * After how many steps a disk looked like this. @throws Error when it never did: then it is not of one instant, or blocks
 * of it are wrong.
 */
export function ticksOf(disk: Buffer): number {
  const newest = newestTick(disk);
  // Zeroing leaves no number; never two of it in a row.
  for (const count of [newest, newest + 1]) {
    if (disk.equals(contentAfter(count))) return count;
  }
  const expected = contentAfter(newest);
  const block = Array.from({ length: BLOCKS }, (_, index) => index * BLOCK).find(
    at => !disk.subarray(at, at + BLOCK).equals(expected.subarray(at, at + BLOCK)),
  );
  throw new Error(`not of one instant: newest step ${newest}, first difference in the 64 KiB at ${block}`);
}

/**
 * The step that two disks, written in this order, were both in. @throws Error when there is none: then each may be of one
 * instant, but not of the same.
 */
export function sharedTick(first: Buffer, second: Buffer): number {
  const [ahead, behind] = [ticksOf(first), ticksOf(second)];
  // A step that changed nothing (zeroes over zeroes) cannot be seen: the disk may be one further.
  for (const count of [behind, behind + 1]) {
    const candidates = [contentAfter(count), contentAfter(count + 1)];
    if (second.equals(candidates[0]!) && candidates.some(content => first.equals(content))) return count;
  }
  throw new Error(`not of the same instant: one disk is of step ${ahead}, the other of step ${behind}`);
}

function newestTick(disk: Buffer): number {
  const numbers = Array.from({ length: BLOCKS }, (_, index) => {
    const start = disk.toString('latin1', index * BLOCK, index * BLOCK + 16);
    return Number(/^tick (\d+)\n/.exec(start)?.[1] ?? 0);
  });
  return Math.max(...numbers);
}
