import {
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_WRITE,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
} from './constants.js';
import { asBuffer, readUInt64, wireFault, writeUInt64 } from './wire-fault.js';

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

/** Largest length of a compact request. */
export const MAX_COMPACT_LENGTH = 0xffffffff;

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

/**
 * Decodes a request's header (server side). The cookie is opaque and may use all 64 bits: take it from
 * bytes 8-16 of the header, not from here.
 * @throws NbdConnectionError (NBD_PROTOCOL) on a wrong magic, or an offset or length above 2^53-1.
 */
export function decodeRequest(bytes: Uint8Array, extended: boolean): Omit<NbdRequest, 'cookie'> {
  const header = asBuffer(bytes);
  const magic = header.readUInt32BE(0);
  const expected = extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC;
  if (magic !== expected) {
    throw wireFault(`request magic is 0x${magic.toString(16)}, expected 0x${expected.toString(16)}`);
  }
  return {
    flags: header.readUInt16BE(4),
    type: header.readUInt16BE(6),
    offset: readUInt64(header, 16, 'request offset'),
    length: extended ? readUInt64(header, 24, 'request length') : header.readUInt32BE(24),
  };
}
