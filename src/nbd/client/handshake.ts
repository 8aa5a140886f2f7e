import { NbdConnectionError, NbdNegotiationError, printable } from '../../errors.js';
import {
  NBD_CLISERV_MAGIC,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_MAGIC,
  NBD_OPTS_MAGIC,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_FLAG_ERROR,
  OPTION_NAMES,
  REPLY_ERROR_NAMES,
} from '../protocol/constants.js';
import { decodeOptionReplyHeader, encodeOption, OPTION_REPLY_HEADER } from '../protocol/option.js';
import { wireFault } from '../protocol/wire-fault.js';
import type { BytePipe } from '../transport/byte-pipe.js';
import type { ExactReader } from './exact-reader.js';

/** A server cannot keep us busy for ever, or take our memory, with replies to one option. Bytes. */
const MAX_REPLIES = 65536;
const MAX_ANSWER = 1 << 24;

/** One reply to an option that is not an error. */
export interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

/** Everything that a server answered to one option. */
export interface OptionAnswer {
  readonly replies: readonly OptionReply[];
  /** Reply type of the error that ended it, or undefined when it ended with NBD_REP_ACK. */
  readonly error: number | undefined;
  /** The server's own words with an error. */
  readonly message: string;
}

/** The client's side of one handshake: greeting and options, in order, one at a time. */
export class Handshake {
  readonly #pipe: BytePipe;
  readonly #reader: ExactReader;
  #noZeroes: boolean;

  /** @param noZeroes what was agreed on already, when a handshake goes on inside TLS. */
  constructor(pipe: BytePipe, reader: ExactReader, noZeroes = false) {
    this.#pipe = pipe;
    this.#reader = reader;
    this.#noZeroes = noZeroes;
  }

  /** Whether 124 zero bytes are left out after NBD_OPT_EXPORT_NAME. */
  get noZeroes(): boolean {
    return this.#noZeroes;
  }

  /**
   * Reads the greeting and answers it.
   * @returns whether the server speaks fixed newstyle; without it NBD_OPT_EXPORT_NAME is all there is.
   * @throws NbdNegotiationError for the oldstyle handshake and for whatever is not NBD.
   */
  async greet(): Promise<{ readonly fixed: boolean }> {
    const greeting = await this.#reader.read(16);
    checkGreeting(greeting, this.#pipe.description);
    const flags = (await this.#reader.read(2)).readUInt16BE(0);
    const fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) !== 0;
    this.#noZeroes = (flags & NBD_FLAG_NO_ZEROES) !== 0;
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(
      (fixed ? NBD_FLAG_C_FIXED_NEWSTYLE : 0) | (this.#noZeroes ? NBD_FLAG_C_NO_ZEROES : 0),
    );
    await this.#send(answer);
    return { fixed };
  }

  /** Sends an option and collects every reply to it, up to the final one. */
  async option(option: number, data?: Uint8Array): Promise<OptionAnswer> {
    await this.#send(encodeOption(option, data));
    const replies: OptionReply[] = [];
    let bytes = 0;
    while (replies.length < MAX_REPLIES && bytes <= MAX_ANSWER) {
      const reply = await this.#readReply(option);
      if (reply.type === NBD_REP_ACK) return { replies, error: undefined, message: '' };
      if (reply.type >= NBD_REP_FLAG_ERROR) {
        return { replies, error: reply.type, message: printable(reply.data.toString('utf8', 0, 1024)) };
      }
      replies.push(reply);
      bytes += reply.data.length;
    }
    throw wireFault(`${replies.length} replies to ${OPTION_NAMES[option]}, ${bytes} bytes, and no end`);
  }

  /** Sends an option whose answer has no reply header (NBD_OPT_EXPORT_NAME) and reads `length` bytes. */
  async rawOption(option: number, data: Uint8Array, length: number): Promise<Buffer> {
    await this.#send(encodeOption(option, data));
    return this.#reader.read(length);
  }

  /** Sends an option and waits for nothing (NBD_OPT_ABORT: servers may just close). */
  async sendOnly(option: number): Promise<void> {
    await this.#send(encodeOption(option));
  }

  async #send(bytes: Uint8Array): Promise<void> {
    try {
      await this.#pipe.write([bytes]);
    } catch (cause) {
      if (cause instanceof NbdConnectionError) throw cause;
      throw new NbdConnectionError(
        'NBD_CONNECTION_LOST',
        `the handshake with ${this.#pipe.description} was cut off: ${(cause as Error).message}`,
        { cause, retryable: true },
      );
    }
  }

  async #readReply(option: number): Promise<OptionReply> {
    const header = decodeOptionReplyHeader(await this.#reader.read(OPTION_REPLY_HEADER));
    if (header.option !== option) {
      throw wireFault(`reply to option ${header.option}, expected one to ${OPTION_NAMES[option]}`);
    }
    return { type: header.type, data: await this.#reader.read(header.length) };
  }
}

function checkGreeting(greeting: Buffer, server: string): void {
  const magic = greeting.readBigUInt64BE(0);
  const style = greeting.readBigUInt64BE(8);
  if (magic === NBD_MAGIC && style === NBD_OPTS_MAGIC) return;
  if (magic === NBD_MAGIC && style === NBD_CLISERV_MAGIC) {
    throw new NbdNegotiationError('NBD_OLDSTYLE', `${server} speaks the obsolete oldstyle NBD handshake`, {
      hint: 'start the server with newstyle negotiation (nbdkit: without --oldstyle)',
    });
  }
  throw new NbdNegotiationError(
    'NBD_HANDSHAKE_FAILED',
    `${server} is not an NBD server: it greets with 0x${greeting.toString('hex')}`,
    { hint: 'check host, port and socket' },
  );
}

/** The error for an option that a server refused and that we cannot do without. */
export function optionRefused(
  option: number,
  answer: OptionAnswer,
  exportName: string,
  server: string,
): NbdNegotiationError {
  const said = answer.message ? ` ("${answer.message}")` : '';
  const fields = { export: exportName, option: OPTION_NAMES[option] ?? option, server };
  if (answer.error === NBD_REP_ERR_TLS_REQD) {
    return new NbdNegotiationError('NBD_TLS_REQUIRED', `${server} demands TLS${said}`, {
      hint: 'use nbds:// or nbds+unix:// with tls-certificates=DIR or tls-psk-file=FILE',
      fields,
    });
  }
  if (answer.error === NBD_REP_ERR_UNKNOWN) {
    return new NbdNegotiationError('NBD_EXPORT_UNKNOWN', `${server} has no export "${exportName}"${said}`, {
      hint: 'list what it offers with: nbdelta info URI',
      fields,
    });
  }
  const name = REPLY_ERROR_NAMES[answer.error ?? 0] ?? `reply type ${answer.error}`;
  return new NbdNegotiationError(
    'NBD_OPTION_REFUSED',
    `${server} refused ${OPTION_NAMES[option]} for export "${exportName}" with ${name}${said}`,
    { hint: refusalHint(answer.error), retryable: answer.error === NBD_REP_ERR_SHUTDOWN, fields },
  );
}

function refusalHint(error: number | undefined): string {
  if (error === NBD_REP_ERR_POLICY) return 'the policy of the server forbids it: check its configuration';
  if (error === NBD_REP_ERR_SHUTDOWN) return 'the server is shutting down';
  return "see the server's log";
}
