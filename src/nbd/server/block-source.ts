/** A range's status in one meta context; which range follows from those before it. Length in bytes, never 0. */
export interface StatusExtent {
  readonly length: number;
  /** 32 bits; what they mean is the context's business. */
  readonly status: number;
}

/** What the NBD server serves: a frozen disk of a fixed size. Offsets and lengths in bytes. */
export interface BlockSource {
  readonly size: number;
  /** Meta contexts this source can answer, e.g. `base:allocation`, `qemu:dirty-bitmap:NAME`. */
  readonly contexts: readonly string[];
  /**
   * Fills all of target with the bytes at offset. Rejects (never zeros) when they cannot be had.
   * The range lies inside the source; calls overlap in time.
   */
  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  /**
   * Consecutive extents from `offset`: at least one, at most `maxExtents`, covering at most `length` bytes
   * (it may stop earlier). The range is not empty and lies inside the source.
   */
  status(
    context: string,
    offset: number,
    length: number,
    maxExtents: number,
  ): readonly StatusExtent[] | Promise<readonly StatusExtent[]>;
}
