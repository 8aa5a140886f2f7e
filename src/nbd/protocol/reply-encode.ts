import {
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_MAX_STRING,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from './constants.js';
import type { ReplyMode } from './reply-stream.js';
import { writeUInt64 } from './wire-fault.js';

/** A part of what a READ returns. Offsets of the export, lengths in bytes, never 0. */
export type ContentPiece =
  | { readonly kind: 'data'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'hole'; readonly offset: number; readonly length: number };

/** Descriptors of one meta context, consecutive from the request's offset; at least one. Bytes. */
export interface ContextStatus {
  readonly contextId: number;
  readonly extents: readonly { readonly length: number; readonly status: number }[];
}

/** What a request is answered with. */
export type Reply =
  | { readonly kind: 'success' }
  | { readonly kind: 'error'; readonly errno: number; readonly message: string }
  /** All of the request's range; empty for a READ of nothing. */
  | { readonly kind: 'content'; readonly pieces: readonly ContentPiece[] }
  /** One entry for each selected context; never in simple mode. */
  | { readonly kind: 'status'; readonly contexts: readonly ContextStatus[] };

/**
 * Encodes the whole reply to the request with this header, as pieces to send one after another.
 * In simple mode a content must be data only.
 */
export function encodeReply(mode: ReplyMode, request: Buffer, reply: Reply): Uint8Array[] {
  return mode === 'simple' ? encodeSimple(request, reply) : encodeChunks(mode, request, reply);
}

/** Simple reply (layout: `reply-stream.ts`): header, and the data of a READ that succeeded. */
function encodeSimple(request: Buffer, reply: Reply): Uint8Array[] {
  const header = Buffer.alloc(16);
  header.writeUInt32BE(NBD_SIMPLE_REPLY_MAGIC, 0);
  header.writeUInt32BE(reply.kind === 'error' ? reply.errno : 0, 4);
  request.copy(header, 8, 8, 16);
  const pieces = reply.kind === 'content' ? reply.pieces : [];
  return [header, ...pieces.map(piece => (piece.kind === 'data' ? piece.bytes : Buffer.alloc(piece.length)))];
}

interface Chunk {
  readonly type: number;
  readonly payload: readonly Uint8Array[];
}

function encodeChunks(mode: 'structured' | 'extended', request: Buffer, reply: Reply): Uint8Array[] {
  const chunks = chunksOf(mode, reply);
  return chunks.flatMap(({ type, payload }, index) => {
    const flags = index === chunks.length - 1 ? NBD_REPLY_FLAG_DONE : 0;
    const length = payload.reduce((sum, part) => sum + part.byteLength, 0);
    return [encodeChunkHeader(mode, request, flags, type, length), ...payload];
  });
}

const NOTHING: readonly Chunk[] = [{ type: NBD_REPLY_TYPE_NONE, payload: [] }];

function chunksOf(mode: 'structured' | 'extended', reply: Reply): readonly Chunk[] {
  switch (reply.kind) {
    case 'success':
      return NOTHING;
    case 'error':
      return [{ type: NBD_REPLY_TYPE_ERROR, payload: [encodeError(reply.errno, reply.message)] }];
    case 'content':
      return reply.pieces.length === 0 ? NOTHING : reply.pieces.map(contentChunk);
    case 'status':
      return reply.contexts.map(mode === 'extended' ? extendedStatusChunk : statusChunk);
  }
}

/** Chunk header (layout: `reply-stream.ts`); cookie, and in extended mode offset, are the request's bytes. */
function encodeChunkHeader(
  mode: 'structured' | 'extended',
  request: Buffer,
  flags: number,
  type: number,
  length: number,
): Buffer {
  const extended = mode === 'extended';
  const header = Buffer.alloc(extended ? 32 : 20);
  header.writeUInt32BE(extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC, 0);
  header.writeUInt16BE(flags, 4);
  header.writeUInt16BE(type, 6);
  request.copy(header, 8, 8, extended ? 24 : 16);
  if (extended) writeUInt64(header, length, 24);
  else header.writeUInt32BE(length, 16);
  return header;
}

/** OFFSET_DATA: u64 offset, data. OFFSET_HOLE: u64 offset, u32 length. */
function contentChunk(piece: ContentPiece): Chunk {
  const head = Buffer.alloc(piece.kind === 'data' ? 8 : 12);
  writeUInt64(head, piece.offset, 0);
  if (piece.kind === 'data') return { type: NBD_REPLY_TYPE_OFFSET_DATA, payload: [head, piece.bytes] };
  head.writeUInt32BE(piece.length, 8);
  return { type: NBD_REPLY_TYPE_OFFSET_HOLE, payload: [head] };
}

/** Layout: `block-status.ts`. */
function statusChunk({ contextId, extents }: ContextStatus): Chunk {
  const payload = Buffer.alloc(4 + 8 * extents.length);
  payload.writeUInt32BE(contextId, 0);
  extents.forEach(({ length, status }, index) => {
    payload.writeUInt32BE(length, 4 + 8 * index);
    payload.writeUInt32BE(status, 8 + 8 * index);
  });
  return { type: NBD_REPLY_TYPE_BLOCK_STATUS, payload: [payload] };
}

function extendedStatusChunk({ contextId, extents }: ContextStatus): Chunk {
  const payload = Buffer.alloc(8 + 16 * extents.length);
  payload.writeUInt32BE(contextId, 0);
  payload.writeUInt32BE(extents.length, 4);
  extents.forEach(({ length, status }, index) => {
    writeUInt64(payload, length, 8 + 16 * index);
    writeUInt64(payload, status, 16 + 16 * index);
  });
  return { type: NBD_REPLY_TYPE_BLOCK_STATUS_EXT, payload: [payload] };
}

/** Error chunk: u32 error, u16 message length, message of at most 4096 bytes. */
function encodeError(errno: number, message: string): Buffer {
  const text = clipText(message);
  const payload = Buffer.alloc(6 + text.length);
  payload.writeUInt32BE(errno, 0);
  payload.writeUInt16BE(text.length, 4);
  payload.set(text, 6);
  return payload;
}

/** UTF-8 of a text without NUL, cut to what a string of the protocol may have, never inside a character. */
export function clipText(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll('\0', '?'));
  if (bytes.length <= NBD_MAX_STRING) return bytes;
  let end = NBD_MAX_STRING;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}
