import {
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_NAME,
  NBD_OPT_ABORT,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from '../protocol/constants.js';
import { decodeGoData, decodeMetaContextData } from '../protocol/option-decode.js';
import {
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeMetaContext,
  encodeServer,
} from '../protocol/option-reply-encode.js';
import { clipText } from '../protocol/reply-encode.js';
import type { Negotiated, Negotiation } from './negotiation.js';
import { blockSizeOf, type ServedExport, transmissionFlags } from './served-export.js';

export interface OptionReply {
  readonly type: number;
  readonly data: Uint8Array;
}

export interface OptionAnswer {
  /** Sent one by one: made when it is its turn. */
  readonly replies: Iterable<OptionReply>;
  /** What comes after the replies; `secure` has none of its own. */
  readonly next: Negotiated | 'continue' | 'secure' | 'goodbye';
}

const ACK: OptionReply = { type: NBD_REP_ACK, data: new Uint8Array(0) };

function go(replies: Iterable<OptionReply>): OptionAnswer {
  return { replies, next: 'continue' };
}

function refuse(type: number, message: string): OptionAnswer {
  return go([{ type, data: clipText(message) }]);
}

type AnswerOption = (negotiation: Negotiation, data: Buffer) => OptionAnswer;

const ANSWERS: Readonly<Record<number, AnswerOption>> = {
  [NBD_OPT_ABORT]: () => ({ replies: [ACK], next: 'goodbye' }),
  [NBD_OPT_LIST]: withoutData(answerList),
  [NBD_OPT_STARTTLS]: withoutData(answerStartTls),
  [NBD_OPT_INFO]: (negotiation, data) => answerInfo(negotiation, data, false),
  [NBD_OPT_GO]: (negotiation, data) => answerInfo(negotiation, data, true),
  [NBD_OPT_STRUCTURED_REPLY]: withoutData(answerStructuredReply),
  [NBD_OPT_EXTENDED_HEADERS]: withoutData(answerExtendedHeaders),
  [NBD_OPT_LIST_META_CONTEXT]: answerListMetaContext,
  [NBD_OPT_SET_META_CONTEXT]: answerSetMetaContext,
};

/** Options that a client may send before the TLS that we demand. */
const BEFORE_TLS: readonly number[] = [NBD_OPT_STARTTLS, NBD_OPT_ABORT];

/** Decides on one option (any but NBD_OPT_EXPORT_NAME). Pure but for the negotiation's state. */
export function answerOption(negotiation: Negotiation, option: number, data: Buffer): OptionAnswer {
  const answer = ANSWERS[option];
  if (!answer || (negotiation.mustSecure && !BEFORE_TLS.includes(option))) {
    return go([refuseOption(negotiation, option, NBD_REP_ERR_UNSUP, `option ${option} is unknown`)]);
  }
  return answer(negotiation, data);
}

/** An error reply; before the TLS that we demand it is always that demand. */
export function refuseOption(
  negotiation: Negotiation,
  option: number,
  type: number,
  message: string,
): OptionReply {
  if (negotiation.mustSecure && !BEFORE_TLS.includes(option)) {
    return { type: NBD_REP_ERR_TLS_REQD, data: clipText('this server demands TLS') };
  }
  return { type, data: clipText(message) };
}

function withoutData(answer: (negotiation: Negotiation) => OptionAnswer): AnswerOption {
  return (negotiation, data) =>
    data.length === 0
      ? answer(negotiation)
      : refuse(NBD_REP_ERR_INVALID, `this option has no data, ${data.length} bytes came`);
}

function answerList({ policy }: Negotiation): OptionAnswer {
  return go(
    (function* () {
      for (const { name, description } of policy.exports.values()) {
        yield { type: NBD_REP_SERVER, data: encodeServer(name, description ?? '') };
      }
      yield ACK;
    })(),
  );
}

function answerStartTls({ policy, secured }: Negotiation): OptionAnswer {
  if (!policy.tls) return refuse(NBD_REP_ERR_POLICY, 'this server has no TLS');
  if (secured) return refuse(NBD_REP_ERR_INVALID, 'TLS is there already');
  return { replies: [], next: 'secure' };
}

function answerStructuredReply(negotiation: Negotiation): OptionAnswer {
  if (negotiation.mode === 'extended') {
    return refuse(NBD_REP_ERR_EXT_HEADER_REQD, 'extended headers were negotiated');
  }
  negotiation.mode = 'structured';
  return go([ACK]);
}

function answerExtendedHeaders(negotiation: Negotiation): OptionAnswer {
  if (!negotiation.policy.extendedHeaders) return refuse(NBD_REP_ERR_UNSUP, 'no extended headers');
  negotiation.mode = 'extended';
  return go([ACK]);
}

function unknownExport(name: string): OptionAnswer {
  return refuse(NBD_REP_ERR_UNKNOWN, `there is no export "${name}"`);
}

function answerInfo(negotiation: Negotiation, data: Buffer, enter: boolean): OptionAnswer {
  const wish = decodeGoData(data);
  if (!wish) return refuse(NBD_REP_ERR_INVALID, 'malformed information request');
  const negotiated = negotiation.choose(wish.exportName);
  if (!negotiated) return unknownExport(wish.exportName);
  const infos = informationOn(negotiated, wish.requests);
  const replies = [...infos.map(info => ({ type: NBD_REP_INFO, data: info })), ACK];
  return { replies, next: enter ? negotiated : 'continue' };
}

function informationOn({ served, mode }: Negotiated, requests: readonly number[]): readonly Buffer[] {
  const infos = [encodeInfoExport(served.source.size, transmissionFlags(mode))];
  if (requests.includes(NBD_INFO_NAME)) infos.push(encodeInfoText(NBD_INFO_NAME, served.name));
  if (requests.includes(NBD_INFO_DESCRIPTION) && served.description !== undefined) {
    infos.push(encodeInfoText(NBD_INFO_DESCRIPTION, served.description));
  }
  if (requests.includes(NBD_INFO_BLOCK_SIZE)) infos.push(encodeInfoBlockSize(blockSizeOf(served)));
  return infos;
}

interface ContextWish {
  readonly served: ServedExport;
  readonly queries: readonly string[];
}

/** What both meta context options have in common; a refusal when the wish cannot be met. */
function decodeContextWish(negotiation: Negotiation, data: Buffer): ContextWish | OptionAnswer {
  if (negotiation.mode === 'simple') {
    return refuse(NBD_REP_ERR_INVALID, 'meta contexts need structured replies or extended headers');
  }
  const wish = decodeMetaContextData(data);
  if (!wish) return refuse(NBD_REP_ERR_INVALID, 'malformed meta context request');
  const served = negotiation.policy.exports.get(wish.exportName);
  return served ? { served, queries: wish.queries } : unknownExport(wish.exportName);
}

function answerListMetaContext(negotiation: Negotiation, data: Buffer): OptionAnswer {
  const wish = decodeContextWish(negotiation, data);
  if ('replies' in wish) return wish;
  const names = [...new Set(wish.served.source.contexts)].filter(name => matchesAny(name, wish.queries));
  return go([...names.map(name => contextReply(0, name)), ACK]);
}

/** No query lists all; one that ends in a colon is a wildcard: `base:`, `qemu:`, `qemu:dirty-bitmap:`. */
function matchesAny(name: string, queries: readonly string[]): boolean {
  if (queries.length === 0) return true;
  return queries.some(query => name === query || (query.endsWith(':') && name.startsWith(query)));
}

function answerSetMetaContext(negotiation: Negotiation, data: Buffer): OptionAnswer {
  negotiation.forgetContexts();
  const wish = decodeContextWish(negotiation, data);
  if ('replies' in wish) return wish;
  const contexts = negotiation.selectContexts(wish.served, wish.queries);
  return go([...contexts.map(({ id, name }) => contextReply(id, name)), ACK]);
}

function contextReply(id: number, name: string): OptionReply {
  return { type: NBD_REP_META_CONTEXT, data: encodeMetaContext(id, name) };
}
