import {
  errnoName,
  NBD_CMD_READ,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from './constants.js';
import { decodeErrorChunk } from './error-chunk.js';
import { asBuffer, readUInt64, wireFault } from './wire-fault.js';

/** How replies are framed, as negotiated. */
export type ReplyMode = 'simple' | 'structured' | 'extended';

/** What the stream must know of a command that waits for its reply. Bytes. */
export interface ExpectedReply {
  readonly type: number;
  readonly offset: number;
  readonly length: number;
}

/** Receives what the stream decodes. `Command` is whatever the owner keeps per cookie. */
export interface ReplyHandler<Command extends ExpectedReply> {
  /** The command of a cookie, or undefined when none is in flight with it. */
  lookup(cookie: number): Command | undefined;
  /** Where `length` bytes of the export at `offset` go: exactly that many bytes, inside the request. */
  dataTarget(command: Command, offset: number, length: number): Uint8Array;
  /** A range inside the request reads as zeroes. */
  onHole(command: Command, offset: number, length: number): void;
  /** Payload of a block status chunk, still encoded; valid during the call only. */
  onStatus(command: Command, payload: Buffer, extended: boolean): void;
  /** An error; the reply may go on. */
  onError(command: Command, errno: number, message: string, offset: number | undefined): void;
  /** The reply is complete. */
  onDone(command: Command): void;
}

/*
 * Simple reply, 16 bytes:        Structured chunk, 20 bytes:    Extended chunk, 32 bytes:
 *    0  u32  0x67446698             0  u32  0x668e33ef             0  u32  0x6e8a278c
 *    4  u32  error                  4  u16  flags                  4  u16  flags
 *    8  u64  cookie                 6  u16  type                   6  u16  type
 *                                   8  u64  cookie                 8  u64  cookie
 *                                  16  u32  payload length        16  u64  offset of the request
 *                                                                 24  u64  payload length
 */
const SIMPLE_HEADER = 16;
const STRUCTURED_HEADER = 20;
const EXTENDED_HEADER = 32;

/**
 * One read takes in a header and the small chunks behind it. Payload bytes that come along are copied to
 * their place; the rest of a payload lands there directly. Small, so that little is copied.
 */
const SCRATCH = 2048;

/** Largest block status payloads that we take memory for: 2^20 extents, the specification's limit. */
const MAX_STATUS_PAYLOAD = 4 + 8 * (1 << 20);
const MAX_EXTENDED_STATUS_PAYLOAD = 8 + 16 * (1 << 20);
/** Largest error chunk: fixed fields and a string. */
const MAX_ERROR_PAYLOAD = 14 + 65536;

interface Chunk<Command> {
  readonly command: Command;
  readonly type: number;
  readonly done: boolean;
}

/**
 * Decodes the server's side of the transmission phase. Pure: it knows no socket. The owner asks
 * {@link next} where the next bytes belong and tells with {@link advance} how many arrived there, so that a
 * payload is received straight into its place.
 */
export class ReplyStream<Command extends ExpectedReply> {
  readonly #mode: ReplyMode;
  readonly #handler: ReplyHandler<Command>;
  readonly #scratch = Buffer.alloc(SCRATCH);
  /** Bytes of the scratch that hold undecoded input. */
  #filled = 0;
  /** Payload being received, or undefined between chunks. */
  #payload: Uint8Array | undefined;
  #received = 0;
  #chunk: Chunk<Command> | undefined;

  constructor(mode: ReplyMode, handler: ReplyHandler<Command>) {
    this.#mode = mode;
    this.#handler = handler;
  }

  /** Where the next bytes belong; never empty. */
  next(): Uint8Array {
    if (this.#payload) return this.#payload.subarray(this.#received);
    return this.#scratch.subarray(this.#filled);
  }

  /**
   * `length` bytes were written to what {@link next} returned.
   * @throws NbdConnectionError (NBD_PROTOCOL): the stream is out of step, the connection must end.
   */
  advance(length: number): void {
    if (this.#payload) {
      this.#received += length;
      if (this.#received === this.#payload.byteLength) this.#finishPayload();
      return;
    }
    this.#filled += length;
    this.#decodeScratch();
  }

  #decodeScratch(): void {
    let at = 0;
    while (true) {
      const used = this.#decodeChunk(this.#scratch.subarray(at, this.#filled));
      if (used === 0) break;
      at += used;
      at += this.#takePayload(at);
      if (this.#payload) break;
    }
    this.#scratch.copyWithin(0, at, this.#filled);
    this.#filled -= at;
  }

  /** Moves payload bytes that came along with the header to their place; returns how many. */
  #takePayload(at: number): number {
    if (!this.#payload) return 0;
    const taken = Math.min(this.#filled - at, this.#payload.byteLength);
    this.#payload.set(this.#scratch.subarray(at, at + taken));
    this.#received = taken;
    if (taken === this.#payload.byteLength) this.#finishPayload();
    return taken;
  }

  /** Decodes one header (with a data chunk's offset); returns the bytes used, 0 when more are needed. */
  #decodeChunk(bytes: Buffer): number {
    if (bytes.length < SIMPLE_HEADER) return 0;
    const magic = bytes.readUInt32BE(0);
    if (magic === NBD_SIMPLE_REPLY_MAGIC && this.#mode !== 'extended') return this.#simpleReply(bytes);
    if (magic === NBD_STRUCTURED_REPLY_MAGIC && this.#mode === 'structured') {
      if (bytes.length < STRUCTURED_HEADER) return 0;
      return this.#startChunk(bytes, STRUCTURED_HEADER, bytes.readUInt32BE(16));
    }
    if (magic === NBD_EXTENDED_REPLY_MAGIC && this.#mode === 'extended') {
      if (bytes.length < EXTENDED_HEADER) return 0;
      return this.#startChunk(bytes, EXTENDED_HEADER, readUInt64(bytes, 24, 'reply payload length'));
    }
    throw wireFault(`reply magic is 0x${magic.toString(16)}, not that of a ${this.#mode} reply`);
  }

  #simpleReply(bytes: Buffer): number {
    const command = this.#command(bytes);
    const errno = bytes.readUInt32BE(4);
    const isRead = command.type === NBD_CMD_READ;
    if (isRead && errno === 0 && this.#mode !== 'simple') {
      throw wireFault('simple reply to NBD_CMD_READ although structured replies were negotiated');
    }
    if (errno !== 0) this.#handler.onError(command, errno, '', undefined);
    if (isRead && errno === 0) {
      this.#chunk = { command, type: NBD_REPLY_TYPE_OFFSET_DATA, done: true };
      this.#expectPayload(this.#handler.dataTarget(command, command.offset, command.length));
    } else {
      this.#handler.onDone(command);
    }
    return SIMPLE_HEADER;
  }

  #command(bytes: Buffer): Command {
    const cookie = readUInt64(bytes, 8, 'reply cookie');
    const command = this.#handler.lookup(cookie);
    if (!command) throw wireFault(`reply cookie ${cookie}, which no command in flight has`);
    return command;
  }

  #startChunk(bytes: Buffer, header: number, length: number): number {
    const command = this.#command(bytes);
    if (this.#mode === 'extended') checkEchoedOffset(bytes, command);
    const type = bytes.readUInt16BE(6);
    const done = (bytes.readUInt16BE(4) & NBD_REPLY_FLAG_DONE) !== 0;
    if (type === NBD_REPLY_TYPE_OFFSET_DATA) return this.#startData(bytes, header, command, length, done);
    checkPayloadLength(type, length, done);
    this.#chunk = { command, type, done };
    if (length === 0) this.#finishChunk(Buffer.alloc(0));
    else this.#expectPayload(Buffer.alloc(length));
    return header;
  }

  /** OFFSET_DATA: u64 offset, then the data, which goes straight to its place. */
  #startData(bytes: Buffer, header: number, command: Command, length: number, done: boolean): number {
    if (bytes.length < header + 8) return 0;
    const offset = readUInt64(bytes, header, 'data chunk offset');
    if (length < 9) throw wireFault(`data chunk of ${length} bytes, at least 9 expected`);
    checkInside(command, offset, length - 8, 'data chunk');
    this.#chunk = { command, type: NBD_REPLY_TYPE_OFFSET_DATA, done };
    this.#expectPayload(this.#handler.dataTarget(command, offset, length - 8));
    return header + 8;
  }

  #expectPayload(payload: Uint8Array): void {
    this.#payload = payload;
    this.#received = 0;
  }

  #finishPayload(): void {
    const payload = this.#payload!;
    this.#payload = undefined;
    this.#finishChunk(asBuffer(payload));
  }

  #finishChunk(payload: Buffer): void {
    const { command, type, done } = this.#chunk!;
    this.#chunk = undefined;
    this.#deliver(command, type, payload);
    if (done) this.#handler.onDone(command);
  }

  #deliver(command: Command, type: number, payload: Buffer): void {
    if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      const offset = readUInt64(payload, 0, 'hole chunk offset');
      const length = payload.readUInt32BE(8);
      checkInside(command, offset, length, 'hole chunk');
      this.#handler.onHole(command, offset, length);
    } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS || type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT) {
      const extended = type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT;
      if (extended !== (this.#mode === 'extended')) {
        throw wireFault(`block status chunk type ${type} in ${this.#mode} mode`);
      }
      this.#handler.onStatus(command, payload, extended);
    } else if (type & NBD_REPLY_TYPE_FLAG_ERROR) {
      this.#deliverError(command, type, payload);
    }
  }

  #deliverError(command: Command, type: number, payload: Buffer): void {
    const error = decodeErrorChunk(payload, type === NBD_REPLY_TYPE_ERROR_OFFSET);
    if (error.offset !== undefined) checkInside(command, error.offset, 0, `${errnoName(error.errno)} chunk`);
    this.#handler.onError(command, error.errno, error.message, error.offset);
  }
}

function checkEchoedOffset(bytes: Buffer, command: ExpectedReply): void {
  const offset = readUInt64(bytes, 16, 'reply offset');
  if (offset !== command.offset) {
    throw wireFault(`extended reply for offset ${offset}, the request's is ${command.offset}`);
  }
}

/** A chunk outside its request would overwrite memory of somebody else's data. */
function checkInside(command: ExpectedReply, offset: number, length: number, what: string): void {
  const end = command.offset + command.length;
  const tooSmall = what === 'hole chunk' && length === 0;
  if (offset < command.offset || offset + length > end || tooSmall) {
    throw wireFault(
      `${what} ${offset}+${length} lies outside its request ${command.offset}+${command.length}`,
    );
  }
}

/** Every length is checked before memory is taken for it ("Structured reply types"). */
function checkPayloadLength(type: number, length: number, done: boolean): void {
  const fail = (expected: string) => {
    throw wireFault(`reply chunk type ${type} with ${length} bytes, ${expected} expected`);
  };
  if (type === NBD_REPLY_TYPE_NONE) {
    if (length !== 0) fail('0');
    if (!done) throw wireFault('NBD_REPLY_TYPE_NONE without NBD_REPLY_FLAG_DONE');
  } else if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
    if (length !== 12) fail('12');
  } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS) {
    if (length < 12 || length % 8 !== 4 || length > MAX_STATUS_PAYLOAD)
      fail(`4 and a multiple of 8, at most ${MAX_STATUS_PAYLOAD},`);
  } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT) {
    if (length < 24 || length % 16 !== 8 || length > MAX_EXTENDED_STATUS_PAYLOAD)
      fail(`8 and a multiple of 16, at most ${MAX_EXTENDED_STATUS_PAYLOAD},`);
  } else if (type & NBD_REPLY_TYPE_FLAG_ERROR) {
    if (length < 6 || length > MAX_ERROR_PAYLOAD) fail(`6 to ${MAX_ERROR_PAYLOAD}`);
  } else {
    throw wireFault(`unknown reply chunk type ${type}`);
  }
}
