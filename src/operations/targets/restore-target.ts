/** Where a disk is restored to. Calls overlap in time, for ranges that do not. Bytes. */
export interface RestoreTarget {
  /** For messages. */
  readonly description: string;
  /** Whether every byte that is never written reads as zero: we created it, empty. */
  readonly zeroed: boolean;
  /** Bytes of a target that we did not make; what lies beyond the disk's end stays as it was. */
  readonly capacity?: number;
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes a range read as zeroes. */
  zero(offset: number, length: number): Promise<void>;
  /** Makes everything durable and gives the target its final name. */
  finish(): Promise<void>;
  /** Gives up: removes what we created. Safe after a failed {@link finish}. */
  abort(): Promise<void>;
}
