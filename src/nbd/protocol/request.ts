import {
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_WRITE,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
} from './constants.js';
import { writeUInt64 } from './wire-fault.js';

/** A request of the transmission phase ("Request message"). Offsets and lengths in bytes. */
export interface NbdRequest {
  readonly flags: number;
  readonly type: number;
  readonly cookie: number;
  readonly offset: number;
  readonly length: number;
}

/*
 * Compact request:                 Extended request:
 *    0  u32  0x25609513               0  u32  0x21e41c71
 *    4  u16  command flags            4  u16  command flags (PAYLOAD_LEN must be set for WRITE)
 *    6  u16  type                     6  u16  type
 *    8  u64  cookie                   8  u64  cookie
 *   16  u64  offset                  16  u64  offset
 *   24  u32  length                  24  u64  length
 */
export const REQUEST_HEADER = 28;
export const EXTENDED_REQUEST_HEADER = 32;

/** Encodes a request's header; a WRITE's data follows it on the wire. */
export function encodeRequest(request: NbdRequest, extended: boolean): Buffer {
  const header = Buffer.allocUnsafe(extended ? EXTENDED_REQUEST_HEADER : REQUEST_HEADER);
  const payload = extended && request.type === NBD_CMD_WRITE ? NBD_CMD_FLAG_PAYLOAD_LEN : 0;
  header.writeUInt32BE(extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC, 0);
  header.writeUInt16BE(request.flags | payload, 4);
  header.writeUInt16BE(request.type, 6);
  writeUInt64(header, request.cookie, 8);
  writeUInt64(header, request.offset, 16);
  if (extended) writeUInt64(header, request.length, 24);
  else header.writeUInt32BE(request.length, 24);
  return header;
}
