import { NBD_MAX_STRING, NBD_OPTS_MAGIC, NBD_REP_MAGIC } from './constants.js';
import { asBuffer, readUInt64, wireFault } from './wire-fault.js';

/*
 * Option (client to server), "Newstyle negotiation":
 *    0  u64  IHAVEOPT
 *    8  u32  option
 *   12  u32  length of data
 *   16       data
 */
export const OPTION_HEADER = 16;

/** Encodes one option with its data. */
export function encodeOption(option: number, data: Uint8Array = new Uint8Array(0)): Buffer {
  const message = Buffer.alloc(OPTION_HEADER + data.byteLength);
  message.writeBigUInt64BE(NBD_OPTS_MAGIC, 0);
  message.writeUInt32BE(option, 8);
  message.writeUInt32BE(data.byteLength, 12);
  message.set(data, OPTION_HEADER);
  return message;
}

/*
 * Option reply (server to client), "Fixed newstyle negotiation":
 *    0  u64  0x0003e889045565a9
 *    8  u32  option that it answers
 *   12  u32  reply type
 *   16  u32  length of data
 *   20       data
 */
export const OPTION_REPLY_HEADER = 20;

/** Largest option reply that we take memory for: two strings and their lengths fit many times. */
export const MAX_OPTION_REPLY = 65536;

export interface OptionReplyHeader {
  readonly option: number;
  readonly type: number;
  /** Bytes of data that follow. */
  readonly length: number;
}

/** Decodes an option reply's 20-byte header. */
export function decodeOptionReplyHeader(bytes: Uint8Array): OptionReplyHeader {
  const buffer = asBuffer(bytes);
  const magic = buffer.readBigUInt64BE(0);
  if (magic !== NBD_REP_MAGIC) {
    throw wireFault(
      `option reply magic is 0x${magic.toString(16)}, expected 0x${NBD_REP_MAGIC.toString(16)}`,
    );
  }
  const length = buffer.readUInt32BE(16);
  if (length > MAX_OPTION_REPLY) {
    throw wireFault(`option reply of ${length} bytes, at most ${MAX_OPTION_REPLY} expected`);
  }
  return { option: buffer.readUInt32BE(8), type: buffer.readUInt32BE(12), length };
}

/** Encodes an option reply (server side). */
export function encodeOptionReply(
  option: number,
  type: number,
  data: Uint8Array = new Uint8Array(0),
): Buffer {
  const message = Buffer.alloc(OPTION_REPLY_HEADER + data.byteLength);
  message.writeBigUInt64BE(NBD_REP_MAGIC, 0);
  message.writeUInt32BE(option, 8);
  message.writeUInt32BE(type, 12);
  message.writeUInt32BE(data.byteLength, 16);
  message.set(data, OPTION_REPLY_HEADER);
  return message;
}

/** Data of NBD_OPT_INFO / NBD_OPT_GO: u32 name length, name, u16 count, u16 x count information requests. */
export function encodeGoData(exportName: string, requests: readonly number[]): Buffer {
  const name = Buffer.from(exportName);
  const data = Buffer.alloc(4 + name.length + 2 + 2 * requests.length);
  data.writeUInt32BE(name.length, 0);
  data.set(name, 4);
  data.writeUInt16BE(requests.length, 4 + name.length);
  requests.forEach((request, index) => {
    data.writeUInt16BE(request, 6 + name.length + 2 * index);
  });
  return data;
}

/** Data of NBD_OPT_LIST_META_CONTEXT / SET_META_CONTEXT: export name, u32 count, then each query as u32 + text. */
export function encodeMetaContextData(exportName: string, queries: readonly string[]): Buffer {
  const parts: Buffer[] = [lengthPrefixed(exportName)];
  const count = Buffer.alloc(4);
  count.writeUInt32BE(queries.length);
  parts.push(count, ...queries.map(lengthPrefixed));
  return Buffer.concat(parts);
}

function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text);
  const result = Buffer.alloc(4 + bytes.length);
  result.writeUInt32BE(bytes.length);
  result.set(bytes, 4);
  return result;
}

/** Data of NBD_REP_META_CONTEXT: u32 context id, then its name. */
export function decodeMetaContext(data: Uint8Array): { readonly id: number; readonly name: string } {
  if (data.byteLength < 5)
    throw wireFault(`meta context reply of ${data.byteLength} bytes, at least 5 expected`);
  const buffer = asBuffer(data);
  return { id: buffer.readUInt32BE(0), name: decodeString(buffer.subarray(4), 'meta context name') };
}

/** Data of NBD_REP_SERVER: u32 name length, name, then an optional description. */
export function decodeServer(data: Uint8Array): { readonly name: string; readonly description: string } {
  const buffer = asBuffer(data);
  const length = data.byteLength < 4 ? -1 : buffer.readUInt32BE(0);
  if (length < 0 || length > data.byteLength - 4) {
    throw wireFault(`export name of ${length} bytes in a reply of ${data.byteLength}`);
  }
  return {
    name: decodeString(buffer.subarray(4, 4 + length), 'export name'),
    description: decodeString(buffer.subarray(4 + length), 'export description'),
  };
}

/** Text from a server, at most 4096 bytes. Names stay exact; whoever prints one makes it harmless (`errorLine`). */
export function decodeString(bytes: Buffer, what: string): string {
  if (bytes.length > NBD_MAX_STRING) {
    throw wireFault(`${what} of ${bytes.length} bytes, at most ${NBD_MAX_STRING} expected`);
  }
  return bytes.toString('utf8');
}

/** Size and transmission flags, as in NBD_INFO_EXPORT and in the answer to NBD_OPT_EXPORT_NAME: u64, u16. */
export function decodeExportInfo(bytes: Uint8Array): { readonly size: number; readonly flags: number } {
  if (bytes.byteLength < 10) throw wireFault(`export information of ${bytes.byteLength} bytes, 10 expected`);
  const buffer = asBuffer(bytes);
  return { size: readUInt64(buffer, 0, 'export size'), flags: buffer.readUInt16BE(8) };
}

/** Limits of one request ("Size constraints"). Bytes. */
export interface BlockSize {
  readonly minimum: number;
  readonly preferred: number;
  /** Largest payload of a READ or WRITE. */
  readonly maximum: number;
}

/** Payload of NBD_INFO_BLOCK_SIZE after its type: u32 minimum, u32 preferred, u32 maximum. */
export function decodeBlockSize(bytes: Uint8Array): BlockSize {
  if (bytes.byteLength !== 12)
    throw wireFault(`block size information of ${bytes.byteLength} bytes, 12 expected`);
  const buffer = asBuffer(bytes);
  const size = {
    minimum: buffer.readUInt32BE(0),
    preferred: buffer.readUInt32BE(4),
    maximum: buffer.readUInt32BE(8),
  };
  if (!isPowerOfTwo(size.minimum) || size.minimum > 65536) {
    throw wireFault(`minimum block size ${size.minimum} is not a power of two up to 65536`);
  }
  if (!isPowerOfTwo(size.preferred) || size.preferred < size.minimum) {
    throw wireFault(
      `preferred block size ${size.preferred} is not a power of two of at least ${size.minimum}`,
    );
  }
  if (size.maximum < size.minimum) {
    throw wireFault(`maximum payload ${size.maximum} is below the minimum block size ${size.minimum}`);
  }
  return size;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
