import { visitDescriptors } from '../protocol/block-status.js';

/** Consecutive extents of one meta context from `offset` on, in columns: a reply may hold a million. Bytes. */
export interface StatusRun {
  readonly offset: number;
  readonly lengths: Float64Array;
  readonly statuses: Uint32Array;
  /** Sum of the lengths; may be less or more than was asked for. */
  readonly total: number;
}

/** Decodes a block status payload that starts at `offset`. */
export function decodeStatusRun(payload: Uint8Array, extended: boolean, offset: number): StatusRun {
  const count = extended ? (payload.byteLength - 8) / 16 : (payload.byteLength - 4) / 8;
  const lengths = new Float64Array(count);
  const statuses = new Uint32Array(count);
  let index = 0;
  let total = 0;
  visitDescriptors(payload, extended, (length, status) => {
    lengths[index] = length;
    statuses[index++] = status;
    total += length;
  });
  return { offset, lengths, statuses, total };
}
