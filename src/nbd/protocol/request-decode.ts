import { clientFault } from './client-fault.js';
import {
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_WRITE,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
} from './constants.js';

/** A request as the server sees it. Offsets and lengths in bytes. */
export interface ServerRequest {
  readonly flags: number;
  readonly type: number;
  /** Infinity stands for what no export can have: 2^53 and above. */
  readonly offset: number;
  readonly length: number;
  /** Bytes that follow the header on the wire, before the next request. */
  readonly payload: number;
  /** The header: replies echo its bytes 8-16 (cookie) and 16-24 (offset) as they are. */
  readonly header: Buffer;
}

/**
 * Decodes a request's header (layout: `request.ts`). It takes any offset: one beyond
 * every export is a request to refuse, not a broken stream. It keeps `header`: give it bytes of its own.
 * @throws NbdConnectionError (NBD_PROTOCOL) on a wrong magic: the stream is out of step.
 */
export function decodeServerRequest(header: Buffer, extended: boolean): ServerRequest {
  const magic = header.readUInt32BE(0);
  const expected = extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC;
  if (magic !== expected) {
    throw clientFault(`request magic is 0x${magic.toString(16)}, expected 0x${expected.toString(16)}`);
  }
  const flags = header.readUInt16BE(4);
  const type = header.readUInt16BE(6);
  const length = extended ? readBounded(header, 24) : header.readUInt32BE(24);
  const hasPayload = extended ? (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0 : type === NBD_CMD_WRITE;
  return { flags, type, offset: readBounded(header, 16), length, payload: hasPayload ? length : 0, header };
}

function readBounded(header: Buffer, at: number): number {
  const value = header.readBigUInt64BE(at);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.POSITIVE_INFINITY : Number(value);
}
