const MIB = 1 << 20;

/**
 * Environment for a qemu-nbd of ours. It takes memory for each request and frees it again; glibc hands such large blocks
 * back to the system every time, and each page of the next one is faulted in and zeroed anew: for 1 MiB that costs more than
 * the copy. With this it keeps them, as much as its requests under way ever needed. Other C libraries know no such words.
 */
export const KEPT_MEMORY: Readonly<Record<string, string>> = {
  // Blocks of this size and more are mapped one by one; glibc allows no higher limit, and NBD requests are no larger.
  MALLOC_MMAP_THRESHOLD_: String(32 * MIB),
  // What may lie free at the end of the heap.
  MALLOC_TRIM_THRESHOLD_: String(64 * MIB),
};
