import { asBuffer, readUInt64, wireFault } from './wire-fault.js';

/*
 * Block status payload, "NBD_REPLY_TYPE_BLOCK_STATUS":    …_EXT:
 *    0  u32  meta context id                              0  u32  meta context id
 *    4       descriptors, 8 bytes each:                   4  u32  descriptor count
 *            u32 length, u32 status flags                 8       descriptors, 16 bytes each:
 *                                                                 u64 length, u64 status flags
 */

/** Meta context that a block status payload speaks of. */
export function decodeContextId(payload: Uint8Array): number {
  return asBuffer(payload).readUInt32BE(0);
}

/** Called for each descriptor in order. Length in bytes, never 0; status is 32 bits (contexts we ask for). */
export type VisitDescriptor = (length: number, status: number) => void;

/**
 * Visits the descriptors of a block status payload; no object per descriptor, a reply may have a million.
 * @throws NbdConnectionError (NBD_PROTOCOL) on a length of zero or a count that does not fit.
 */
export function visitDescriptors(payload: Uint8Array, extended: boolean, visit: VisitDescriptor): void {
  const buffer = asBuffer(payload);
  if (extended) visitExtended(buffer, visit);
  else visitCompact(buffer, visit);
}

function visitCompact(buffer: Buffer, visit: VisitDescriptor): void {
  for (let at = 4; at < buffer.length; at += 8) {
    const length = buffer.readUInt32BE(at);
    if (length === 0) throw wireFault('block status descriptor of length 0');
    visit(length, buffer.readUInt32BE(at + 4));
  }
}

function visitExtended(buffer: Buffer, visit: VisitDescriptor): void {
  const count = buffer.readUInt32BE(4);
  if (count * 16 + 8 !== buffer.length) {
    throw wireFault(`${count} block status descriptors in a payload of ${buffer.length} bytes`);
  }
  for (let at = 8; at < buffer.length; at += 16) {
    const length = readUInt64(buffer, at, 'block status length');
    if (length === 0) throw wireFault('block status descriptor of length 0');
    visit(length, buffer.readUInt32BE(at + 12));
  }
}
