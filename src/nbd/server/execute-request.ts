import type { BufferShelf } from '../../buffers/buffer-shelf.js';
import { errorLine, NbdeltaError } from '../../errors.js';
import {
  COMMAND_NAMES,
  CONTEXT_BASE_ALLOCATION,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_STATE_ZERO,
} from '../protocol/constants.js';
import type { ContentPiece, Reply } from '../protocol/reply-encode.js';
import type { ServerRequest } from '../protocol/request-decode.js';
import { clipExtents } from './clip-extents.js';
import type { Negotiated } from './negotiation.js';
import { blockSizeOf } from './served-export.js';

/** Descriptors per context in one reply; a client asks on where they end. */
export const MAX_STATUS_EXTENTS = 1 << 16;
/** Extents of the allocation map that one READ looks at; what is beyond them is read. */
const MAX_READ_EXTENTS = 256;
/** Zeroes shorter than this are not worth a chunk of their own. Bytes. */
const SMALLEST_HOLE = 4096;

/** Why a request never reaches the source. */
interface Refusal {
  readonly errno: number;
  readonly message: string;
}

/** An upper bound of a reply's size, known before any work is done. Bytes. */
export function replyCost(request: ServerRequest, { served, contexts }: Negotiated): number {
  if (request.type === NBD_CMD_READ) return Math.min(request.length, blockSizeOf(served).maximum);
  if (request.type === NBD_CMD_BLOCK_STATUS) return contexts.length * MAX_STATUS_EXTENTS * 16;
  return 0;
}

/** What requests are executed with. */
export interface Execution {
  /** Where the memory of replies comes from. */
  readonly shelf: BufferShelf;
  readonly signal: AbortSignal;
  /** Told of what was the source's fault. */
  readonly report: (error: unknown) => void;
}

/** A reply, and the memory that its data lies in: it may go back to the shelf once the reply was sent. */
export interface ExecutedRequest {
  readonly reply: Reply;
  readonly memory?: ArrayBuffer;
}

/** Executes one request (any but NBD_CMD_DISC). Never rejects: what goes wrong is the reply. */
export async function executeRequest(
  request: ServerRequest,
  negotiated: Negotiated,
  execution: Execution,
): Promise<ExecutedRequest> {
  const refusal = refusalOf(request, negotiated);
  if (refusal) return { reply: { kind: 'error', ...refusal } };
  try {
    if (request.type === NBD_CMD_READ) return await read(request, negotiated, execution);
    if (request.type === NBD_CMD_BLOCK_STATUS) return { reply: await blockStatus(request, negotiated) };
    return { reply: { kind: 'success' } }; // FLUSH: nothing was written. CACHE: a hint.
  } catch (error) {
    execution.report(error);
    return { reply: { kind: 'error', errno: NBD_EIO, message: errorLine(error) } };
  }
}

const READ_ONLY_REFUSES: readonly number[] = [NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES];

function refusalOf(request: ServerRequest, negotiated: Negotiated): Refusal | undefined {
  const { type, flags } = request;
  const name = COMMAND_NAMES[type];
  const invalid = (message: string): Refusal => ({ errno: NBD_EINVAL, message });
  if (name === undefined) return invalid(`unknown command ${type}`);
  if (negotiated.mode === 'extended' && (type === NBD_CMD_WRITE) !== hasPayloadFlag(flags)) {
    return invalid(`${name} with flags 0x${flags.toString(16)}`);
  }
  if (READ_ONLY_REFUSES.includes(type)) return { errno: NBD_EPERM, message: 'the export is read-only' };
  if ((flags & ~allowedFlags(type, negotiated)) !== 0) {
    return invalid(`${name} with flags 0x${flags.toString(16)}`);
  }
  if (type === NBD_CMD_FLUSH) {
    return request.offset === 0 && request.length === 0 ? undefined : invalid(`${name} of a range`);
  }
  return rangeRefusal(request, negotiated) ?? sizeRefusal(request, negotiated);
}

function hasPayloadFlag(flags: number): boolean {
  return (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0;
}

function allowedFlags(type: number, { mode }: Negotiated): number {
  if (type === NBD_CMD_READ) return mode === 'simple' ? 0 : NBD_CMD_FLAG_DF;
  return type === NBD_CMD_BLOCK_STATUS ? NBD_CMD_FLAG_REQ_ONE : 0;
}

function rangeRefusal({ offset, length }: ServerRequest, { served }: Negotiated): Refusal | undefined {
  const { size } = served.source;
  const { minimum } = blockSizeOf(served);
  if (offset > size || length > size - offset) {
    return { errno: NBD_EINVAL, message: `range ${offset}+${length} ends behind the export's ${size} bytes` };
  }
  if (offset % minimum !== 0 || length % minimum !== 0) {
    return { errno: NBD_EINVAL, message: `range ${offset}+${length} is not aligned to ${minimum} bytes` };
  }
  return undefined;
}

function sizeRefusal({ type, length }: ServerRequest, negotiated: Negotiated): Refusal | undefined {
  const { maximum } = blockSizeOf(negotiated.served);
  if (type === NBD_CMD_READ && length > maximum) {
    const errno = negotiated.mode === 'extended' ? NBD_EOVERFLOW : NBD_EINVAL;
    return { errno, message: `read of ${length} bytes, at most ${maximum} allowed` };
  }
  if (type === NBD_CMD_BLOCK_STATUS && negotiated.contexts.length === 0) {
    return { errno: NBD_EINVAL, message: 'no meta context was negotiated' };
  }
  if (type === NBD_CMD_BLOCK_STATUS && length === 0) {
    return { errno: NBD_EINVAL, message: 'block status of no bytes' };
  }
  return undefined;
}

/**
 * Reads everything before the first byte of the reply leaves, so that an error is still an error chunk, and
 * known zeroes are holes that nobody reads.
 */
async function read(
  request: ServerRequest,
  negotiated: Negotiated,
  { shelf, signal }: Execution,
): Promise<ExecutedRequest> {
  const { source } = negotiated.served;
  const ranges = await planRead(request, negotiated);
  const total = ranges.reduce((sum, { zero, length }) => sum + (zero ? 0 : length), 0);
  if (total === 0)
    return {
      reply: {
        kind: 'content',
        pieces: ranges.map(({ offset, length }) => ({ kind: 'hole', offset, length })),
      },
    };
  const memory = shelf.take(total);
  const pieces: ContentPiece[] = [];
  let used = 0;
  for (const { offset, length, zero } of ranges) {
    if (zero) {
      pieces.push({ kind: 'hole', offset, length });
      continue;
    }
    const bytes = new Uint8Array(memory, used, length);
    used += length;
    await source.readInto(offset, bytes, signal);
    pieces.push({ kind: 'data', offset, bytes });
  }
  return { reply: { kind: 'content', pieces }, memory };
}

interface ReadRange {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** The request's range, split into data and zeroes where the client takes more than one chunk. */
async function planRead(request: ServerRequest, negotiated: Negotiated): Promise<readonly ReadRange[]> {
  const { offset, length, flags } = request;
  if (length === 0) return [];
  const { source } = negotiated.served;
  const canSplit = negotiated.mode !== 'simple' && (flags & NBD_CMD_FLAG_DF) === 0;
  if (!canSplit || length < SMALLEST_HOLE || !source.contexts.includes(CONTEXT_BASE_ALLOCATION)) {
    return [{ offset, length, zero: false }];
  }
  const extents = await source.status(CONTEXT_BASE_ALLOCATION, offset, length, MAX_READ_EXTENTS);
  const ranges: ReadRange[] = [];
  let at = offset;
  for (const extent of clipExtents(extents, length, MAX_READ_EXTENTS)) {
    const zero = (extent.status & NBD_STATE_ZERO) !== 0 && extent.length >= SMALLEST_HOLE;
    appendRange(ranges, { offset: at, length: extent.length, zero });
    at += extent.length;
  }
  if (at < offset + length) appendRange(ranges, { offset: at, length: offset + length - at, zero: false });
  return ranges;
}

/** Neighbours of the same kind become one range. */
function appendRange(ranges: ReadRange[], range: ReadRange): void {
  const last = ranges.at(-1);
  if (last?.zero !== range.zero) ranges.push(range);
  else ranges[ranges.length - 1] = { ...last, length: last.length + range.length };
}

async function blockStatus(request: ServerRequest, negotiated: Negotiated): Promise<Reply> {
  const { offset, length, flags } = request;
  const { source } = negotiated.served;
  const maxExtents = (flags & NBD_CMD_FLAG_REQ_ONE) !== 0 ? 1 : MAX_STATUS_EXTENTS;
  const contexts = [];
  for (const { id, name } of negotiated.contexts) {
    const extents = clipExtents(await source.status(name, offset, length, maxExtents), length, maxExtents);
    if (extents.length === 0) throw new NbdeltaError('INTERNAL', `no extent of ${name} at ${offset}`);
    contexts.push({ contextId: id, extents });
  }
  return { kind: 'status', contexts };
}
