const MOST = 24;

/**
 * Frames being read or worked on at once: two for each codec thread (at work, and waiting) and some to read. More
 * do not help, they cost: memory that is touched for the first time, and buffers that fall out of the processor's cache.
 */
export function framesInFlight(threads: number): number {
  return Math.min(MOST, 4 + 2 * threads);
}
