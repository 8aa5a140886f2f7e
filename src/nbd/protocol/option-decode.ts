import { clientFault } from './client-fault.js';
import {
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_MAX_STRING,
  NBD_OPTS_MAGIC,
} from './constants.js';
import { asBuffer } from './wire-fault.js';

/** Length of the client flags that answer the greeting. Bytes. */
export const CLIENT_FLAGS = 4;

export interface ClientFlags {
  /** Without it a client may send NBD_OPT_EXPORT_NAME and nothing else. */
  readonly fixedNewstyle: boolean;
  /** NBD_OPT_EXPORT_NAME is answered without 124 zero bytes. */
  readonly noZeroes: boolean;
}

/**
 * Decodes the client flags: u32.
 * @throws NbdConnectionError (NBD_PROTOCOL) on an unknown flag: "the server MUST drop the TCP connection".
 */
export function decodeClientFlags(bytes: Uint8Array): ClientFlags {
  const flags = asBuffer(bytes).readUInt32BE(0);
  const known = NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES;
  if ((flags & ~known) !== 0) {
    throw clientFault(`client flags are 0x${flags.toString(16)}, only 0x${known.toString(16)} are known`);
  }
  return {
    fixedNewstyle: (flags & NBD_FLAG_C_FIXED_NEWSTYLE) !== 0,
    noZeroes: (flags & NBD_FLAG_C_NO_ZEROES) !== 0,
  };
}

export interface OptionHeader {
  readonly option: number;
  /** Bytes of data that follow; as the client says it, not checked. */
  readonly length: number;
}

/**
 * Decodes an option's 16-byte header (layout: `option.ts`).
 * @throws NbdConnectionError (NBD_PROTOCOL) on a wrong magic: the stream is out of step.
 */
export function decodeOptionHeader(bytes: Uint8Array): OptionHeader {
  const buffer = asBuffer(bytes);
  const magic = buffer.readBigUInt64BE(0);
  if (magic !== NBD_OPTS_MAGIC) {
    throw clientFault(`option magic is 0x${magic.toString(16)}, expected 0x${NBD_OPTS_MAGIC.toString(16)}`);
  }
  return { option: buffer.readUInt32BE(8), length: buffer.readUInt32BE(12) };
}

export interface GoData {
  readonly exportName: string;
  /** NBD_INFO_* values that the client asks for. */
  readonly requests: readonly number[];
}

/** Decodes data of NBD_OPT_INFO / NBD_OPT_GO (layout: `encodeGoData`); undefined when it is malformed. */
export function decodeGoData(data: Uint8Array): GoData | undefined {
  const buffer = asBuffer(data);
  const name = takeString(buffer, 0);
  if (!name || buffer.length < name.end + 2) return undefined;
  const count = buffer.readUInt16BE(name.end);
  if (buffer.length !== name.end + 2 + 2 * count) return undefined;
  const requests = Array.from({ length: count }, (_, index) => buffer.readUInt16BE(name.end + 2 + 2 * index));
  return { exportName: name.text, requests };
}

export interface MetaContextData {
  readonly exportName: string;
  readonly queries: readonly string[];
}

/**
 * Decodes data of NBD_OPT_LIST_META_CONTEXT / SET_META_CONTEXT (layout: `encodeMetaContextData`); undefined
 * when it is malformed. The count that the client claims takes no memory: queries are counted as they come.
 */
export function decodeMetaContextData(data: Uint8Array): MetaContextData | undefined {
  const buffer = asBuffer(data);
  const name = takeString(buffer, 0);
  if (!name || buffer.length < name.end + 4) return undefined;
  const count = buffer.readUInt32BE(name.end);
  const queries: string[] = [];
  let at = name.end + 4;
  while (queries.length < count) {
    const query = takeString(buffer, at);
    if (!query) return undefined;
    queries.push(query.text);
    at = query.end;
  }
  return at === buffer.length ? { exportName: name.text, queries } : undefined;
}

/** u32 length and text, all of it inside the buffer and at most 4096 bytes long; undefined otherwise. */
function takeString(buffer: Buffer, at: number): { readonly text: string; readonly end: number } | undefined {
  if (buffer.length < at + 4) return undefined;
  const length = buffer.readUInt32BE(at);
  const end = at + 4 + length;
  if (length > NBD_MAX_STRING || end > buffer.length) return undefined;
  return { text: buffer.toString('utf8', at + 4, end), end };
}
