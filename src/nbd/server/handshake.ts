import { clientFault } from '../protocol/client-fault.js';
import {
  NBD_MAX_STRING,
  NBD_OPT_EXPORT_NAME,
  NBD_REP_ACK,
  NBD_REP_ERR_TOO_BIG,
  OPTION_NAMES,
} from '../protocol/constants.js';
import { encodeOptionReply, OPTION_HEADER } from '../protocol/option.js';
import {
  CLIENT_FLAGS,
  type ClientFlags,
  decodeClientFlags,
  decodeOptionHeader,
} from '../protocol/option-decode.js';
import { encodeExportNameAnswer, encodeGreeting } from '../protocol/option-reply-encode.js';
import { answerOption, refuseOption } from './answer-option.js';
import { type HandshakePolicy, type Negotiated, Negotiation } from './negotiation.js';
import { transmissionFlags } from './served-export.js';

/** What the handshake wants done before it goes on. It knows no socket. */
export type HandshakeStep =
  /** Resume with exactly `length` bytes from the client. */
  | { readonly kind: 'need'; readonly length: number }
  /** Throw away the next `length` bytes from the client. */
  | { readonly kind: 'skip'; readonly length: number }
  /** Send, and wait until the client takes it: nothing may pile up for one that does not read. */
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** Send if the client still listens: one that says goodbye may leave without waiting for the answer. */
  | { readonly kind: 'farewell'; readonly bytes: Uint8Array }
  /**
   * Send the consent, then go on over TLS. Bytes that came behind the request in the clear are an attempt
   * to have them taken for encrypted ones: refuse them.
   */
  | { readonly kind: 'secure'; readonly consent: Uint8Array };

/** Returns what was agreed, or undefined when the client said goodbye. */
export type Handshake = Generator<HandshakeStep, Negotiated | undefined, Buffer>;

/** Option data that we take memory for. Larger data is skipped unseen. Bytes. */
export const MAX_OPTION_DATA = 65536;
/** Option data that we have the patience to skip; above it the client is hostile or out of step. Bytes. */
export const MAX_SKIPPED_OPTION = 0x2000000;

/**
 * The server's side of "Fixed newstyle negotiation", as a generator of steps.
 * @throws NbdConnectionError (NBD_PROTOCOL) when the connection must be dropped.
 */
export function* serverHandshake(policy: HandshakePolicy): Handshake {
  yield { kind: 'send', bytes: encodeGreeting() };
  const flags = decodeClientFlags(yield { kind: 'need', length: CLIENT_FLAGS });
  const negotiation = new Negotiation(policy);
  while (true) {
    const { option, length } = decodeOptionHeader(yield { kind: 'need', length: OPTION_HEADER });
    checkOption(flags, option, length);
    if (option === NBD_OPT_EXPORT_NAME) return yield* exportName(negotiation, flags, length);
    if (length > MAX_OPTION_DATA) {
      yield* skipOversized(negotiation, option, length);
      continue;
    }
    const data = length > 0 ? yield { kind: 'need', length } : Buffer.alloc(0);
    const verdict = yield* haggle(negotiation, option, data);
    if (verdict !== 'continue') return verdict === 'goodbye' ? undefined : verdict;
  }
}

function checkOption(flags: ClientFlags, option: number, length: number): void {
  if (!flags.fixedNewstyle && option !== NBD_OPT_EXPORT_NAME) {
    throw clientFault(`option ${optionName(option)} from a client without fixed newstyle`);
  }
  if (length > MAX_SKIPPED_OPTION) {
    throw clientFault(
      `option ${optionName(option)} with ${length} bytes, at most ${MAX_OPTION_DATA} expected`,
    );
  }
}

function optionName(option: number): string {
  return OPTION_NAMES[option] ?? `${option}`;
}

/** One option with its replies. */
function* haggle(
  negotiation: Negotiation,
  option: number,
  data: Buffer,
): Generator<HandshakeStep, Negotiated | 'continue' | 'goodbye', Buffer> {
  const answer = answerOption(negotiation, option, data);
  if (answer.next === 'secure') {
    yield { kind: 'secure', consent: encodeOptionReply(option, NBD_REP_ACK) };
    negotiation.restartSecured();
    return 'continue';
  }
  const kind = answer.next === 'goodbye' ? 'farewell' : 'send';
  for (const reply of answer.replies) {
    yield { kind, bytes: encodeOptionReply(option, reply.type, reply.data) };
  }
  return answer.next;
}

function* skipOversized(
  negotiation: Negotiation,
  option: number,
  length: number,
): Generator<HandshakeStep, void, Buffer> {
  yield { kind: 'skip', length };
  const { type, data } = refuseOption(
    negotiation,
    option,
    NBD_REP_ERR_TOO_BIG,
    `${length} bytes of option data`,
  );
  yield { kind: 'send', bytes: encodeOptionReply(option, type, data) };
}

/** NBD_OPT_EXPORT_NAME has no error reply: whatever cannot be served ends the connection. */
function* exportName(negotiation: Negotiation, flags: ClientFlags, length: number): Handshake {
  if (length > NBD_MAX_STRING) throw clientFault(`export name of ${length} bytes`);
  if (negotiation.mustSecure) throw clientFault('NBD_OPT_EXPORT_NAME without TLS, which this server demands');
  if (negotiation.mode === 'extended') throw clientFault('NBD_OPT_EXPORT_NAME with extended headers');
  const name = length > 0 ? (yield { kind: 'need', length }).toString('utf8') : '';
  const negotiated = negotiation.choose(name);
  if (!negotiated) throw clientFault(`there is no export "${name}"`);
  const { size } = negotiated.served.source;
  const bytes = encodeExportNameAnswer(size, transmissionFlags(negotiated.mode), !flags.noZeroes);
  yield { kind: 'send', bytes };
  return negotiated;
}
