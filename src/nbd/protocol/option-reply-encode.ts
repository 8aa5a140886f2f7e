import {
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_MAGIC,
  NBD_OPTS_MAGIC,
} from './constants.js';
import type { BlockSize } from './option.js';
import { writeUInt64 } from './wire-fault.js';

/** The server's first 18 bytes: u64 NBDMAGIC, u64 IHAVEOPT, u16 handshake flags. */
export function encodeGreeting(): Buffer {
  const greeting = Buffer.alloc(18);
  greeting.writeBigUInt64BE(NBD_MAGIC, 0);
  greeting.writeBigUInt64BE(NBD_OPTS_MAGIC, 8);
  greeting.writeUInt16BE(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 16);
  return greeting;
}

/** Zero bytes behind the answer to NBD_OPT_EXPORT_NAME, unless the client asked for none. */
const EXPORT_NAME_ZEROES = 124;

/** Answer to NBD_OPT_EXPORT_NAME: u64 size, u16 transmission flags, 124 zero bytes. */
export function encodeExportNameAnswer(size: number, flags: number, zeroes: boolean): Buffer {
  const answer = Buffer.alloc(10 + (zeroes ? EXPORT_NAME_ZEROES : 0));
  writeUInt64(answer, size, 0);
  answer.writeUInt16BE(flags, 8);
  return answer;
}

/** Data of NBD_REP_SERVER: u32 name length, name, description. */
export function encodeServer(name: string, description: string): Buffer {
  const nameBytes = Buffer.from(name);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(nameBytes.length);
  return Buffer.concat([length, nameBytes, Buffer.from(description)]);
}

/** Data of NBD_REP_META_CONTEXT: u32 context id, name. */
export function encodeMetaContext(id: number, name: string): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(id);
  return Buffer.concat([head, Buffer.from(name)]);
}

/** Data of NBD_REP_INFO with NBD_INFO_EXPORT: u16 type, u64 size, u16 transmission flags. */
export function encodeInfoExport(size: number, flags: number): Buffer {
  const info = Buffer.alloc(12);
  info.writeUInt16BE(NBD_INFO_EXPORT, 0);
  writeUInt64(info, size, 2);
  info.writeUInt16BE(flags, 10);
  return info;
}

/** Data of NBD_REP_INFO with a text (NBD_INFO_NAME, NBD_INFO_DESCRIPTION): u16 type, text. */
export function encodeInfoText(type: number, text: string): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return Buffer.concat([head, Buffer.from(text)]);
}

/** Data of NBD_REP_INFO with NBD_INFO_BLOCK_SIZE: u16 type, u32 minimum, u32 preferred, u32 maximum. */
export function encodeInfoBlockSize(size: BlockSize): Buffer {
  const info = Buffer.alloc(14);
  info.writeUInt16BE(NBD_INFO_BLOCK_SIZE, 0);
  info.writeUInt32BE(size.minimum, 2);
  info.writeUInt32BE(size.preferred, 6);
  info.writeUInt32BE(size.maximum, 10);
  return info;
}
