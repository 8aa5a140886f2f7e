import { NbdNegotiationError, printable } from '../../errors.js';
import {
  NBD_DEFAULT_MAX_PAYLOAD,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from '../protocol/constants.js';
import {
  type BlockSize,
  decodeBlockSize,
  decodeExportInfo,
  decodeMetaContext,
  decodeServer,
  decodeString,
  encodeGoData,
  encodeMetaContextData,
} from '../protocol/option.js';
import type { ReplyMode } from '../protocol/reply-stream.js';
import { wireFault } from '../protocol/wire-fault.js';
import { type Handshake, type OptionReply, optionRefused } from './handshake.js';

/** What to negotiate. */
export interface NegotiationPlan {
  readonly exportName: string;
  /** Meta contexts to select; those that a server does not grant are simply missing in the result. */
  readonly contexts: readonly string[];
  readonly extendedHeaders: boolean;
  readonly structuredReplies: boolean;
}

/** What was agreed on, and everything the server told about the export. Sizes in bytes. */
export interface ExportInfo {
  readonly exportName: string;
  readonly size: number;
  /** Transmission flags. */
  readonly flags: number;
  readonly blockSize: BlockSize;
  /** Whether the server advertised `blockSize` (else they are the specification's defaults). */
  readonly blockSizeAdvertised: boolean;
  readonly canonicalName: string | undefined;
  readonly description: string | undefined;
  readonly replyMode: ReplyMode;
  /** Granted meta contexts and the id that block status replies use for them. */
  readonly contexts: ReadonlyMap<string, number>;
}

export interface ListedExport {
  readonly name: string;
  readonly description: string;
}

/** Exports that an error names. */
const MAX_NAMED = 8;

/** "Size constraints": without an advertisement a careful client keeps to 1 / 4096 / 32 MiB. */
const DEFAULT_BLOCK_SIZE: BlockSize = { minimum: 1, preferred: 4096, maximum: NBD_DEFAULT_MAX_PAYLOAD };

/** Agrees on how replies are framed: extended headers, else structured replies, else simple ones. */
export async function negotiateReplies(
  handshake: Handshake,
  plan: NegotiationPlan,
  server: string,
): Promise<ReplyMode> {
  if (plan.extendedHeaders) {
    const answer = await handshake.option(NBD_OPT_EXTENDED_HEADERS);
    if (answer.error === undefined) return 'extended';
    refuseFatal(NBD_OPT_EXTENDED_HEADERS, answer, plan, server);
  }
  if (plan.structuredReplies) {
    const answer = await handshake.option(NBD_OPT_STRUCTURED_REPLY);
    if (answer.error === undefined) return 'structured';
    refuseFatal(NBD_OPT_STRUCTURED_REPLY, answer, plan, server);
  }
  return 'simple';
}

/** Most refusals mean "not supported" and are fine; some mean that there is no way on. */
function refuseFatal(
  option: number,
  answer: { error: number | undefined; message: string; replies: readonly OptionReply[] },
  plan: NegotiationPlan,
  server: string,
): void {
  if (answer.error === NBD_REP_ERR_TLS_REQD || answer.error === NBD_REP_ERR_SHUTDOWN) {
    throw optionRefused(option, answer, plan.exportName, server);
  }
}

/** Selects meta contexts; returns those that were granted. */
export async function selectContexts(
  handshake: Handshake,
  plan: NegotiationPlan,
  server: string,
): Promise<ReadonlyMap<string, number>> {
  const granted = new Map<string, number>();
  const data = encodeMetaContextData(plan.exportName, plan.contexts);
  const answer = await handshake.option(NBD_OPT_SET_META_CONTEXT, data);
  if (answer.error !== undefined) {
    // A failed SET_META_CONTEXT selects nothing; an export that is missing is better told by NBD_OPT_GO.
    refuseFatal(NBD_OPT_SET_META_CONTEXT, answer, plan, server);
    return granted;
  }
  for (const reply of answer.replies) {
    if (reply.type !== NBD_REP_META_CONTEXT) continue;
    const context = decodeMetaContext(reply.data);
    if (!plan.contexts.includes(context.name)) {
      throw wireFault(`the server granted the meta context "${context.name}", which nobody asked for`);
    }
    if ([...granted.values()].includes(context.id)) throw wireFault(`meta context id ${context.id} twice`);
    granted.set(context.name, context.id);
  }
  return granted;
}

/** Meta contexts that the server offers for an export (some servers list only what was asked for). */
export async function listContexts(handshake: Handshake, exportName: string): Promise<readonly string[]> {
  const answer = await handshake.option(NBD_OPT_LIST_META_CONTEXT, encodeMetaContextData(exportName, []));
  if (answer.error !== undefined) return [];
  return answer.replies
    .filter(reply => reply.type === NBD_REP_META_CONTEXT)
    .map(reply => decodeMetaContext(reply.data).name);
}

/** Exports that the server lists; undefined when it does not tell. */
export async function listExports(handshake: Handshake): Promise<readonly ListedExport[] | undefined> {
  const answer = await handshake.option(NBD_OPT_LIST);
  if (answer.error !== undefined) return undefined;
  return answer.replies.filter(reply => reply.type === NBD_REP_SERVER).map(reply => decodeServer(reply.data));
}

/** Enters the transmission phase with NBD_OPT_GO, or with NBD_OPT_EXPORT_NAME on servers that do not know it. */
export async function enterTransmission(
  handshake: Handshake,
  plan: NegotiationPlan,
  agreed: { readonly replyMode: ReplyMode; readonly contexts: ReadonlyMap<string, number> },
  server: string,
): Promise<ExportInfo> {
  const requests = [NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE];
  const answer = await handshake.option(NBD_OPT_GO, encodeGoData(plan.exportName, requests));
  if (answer.error === undefined) return { ...agreed, ...decodeGo(answer.replies, plan) };
  const unknownOption = answer.error === NBD_REP_ERR_UNSUP && agreed.replyMode !== 'extended';
  if (unknownOption) return { ...agreed, ...(await useExportName(handshake, plan, server)) };
  if (answer.error === NBD_REP_ERR_EXT_HEADER_REQD) {
    throw new NbdNegotiationError('NBD_OPTION_REFUSED', `${server} demands extended headers`, {
      hint: 'do not turn extended headers off',
    });
  }
  const refused = optionRefused(NBD_OPT_GO, answer, plan.exportName, server);
  throw refused.code === 'NBD_EXPORT_UNKNOWN' ? await namingOthers(refused, handshake) : refused;
}

/** The same error with a hint that names the exports there are; a server may refuse to list them, or hang up. */
async function namingOthers(
  refused: NbdNegotiationError,
  handshake: Handshake,
): Promise<NbdNegotiationError> {
  const exports = await listExports(handshake).catch(() => undefined);
  if (!exports || exports.length === 0) return refused;
  const names = exports.slice(0, MAX_NAMED).map(({ name }) => JSON.stringify(printable(name)));
  const more = exports.length > names.length ? ` and ${exports.length - names.length} more` : '';
  return new NbdNegotiationError(refused.code, refused.message, {
    hint: `it offers ${names.join(', ')}${more}`,
    fields: { ...refused.fields, exports: names },
  });
}

type ExportFacts = Omit<ExportInfo, 'replyMode' | 'contexts'>;

function decodeGo(replies: readonly OptionReply[], plan: NegotiationPlan): ExportFacts {
  const infos = new Map<number, Buffer>();
  for (const reply of replies) {
    if (reply.type !== NBD_REP_INFO) continue;
    if (reply.data.length < 2) throw wireFault(`information reply of ${reply.data.length} bytes`);
    infos.set(reply.data.readUInt16BE(0), reply.data.subarray(2));
  }
  const exported = infos.get(NBD_INFO_EXPORT);
  if (!exported) throw wireFault('NBD_OPT_GO succeeded without NBD_INFO_EXPORT');
  const blockSize = infos.get(NBD_INFO_BLOCK_SIZE);
  const name = infos.get(NBD_INFO_NAME);
  const description = infos.get(NBD_INFO_DESCRIPTION);
  return {
    exportName: plan.exportName,
    ...decodeExportInfo(exported),
    blockSize: blockSize ? decodeBlockSize(blockSize) : DEFAULT_BLOCK_SIZE,
    blockSizeAdvertised: blockSize !== undefined,
    canonicalName: name && decodeString(name, 'export name'),
    description: description && decodeString(description, 'export description'),
  };
}

/** NBD_OPT_EXPORT_NAME has no way to say no: an unknown export ends the connection. */
export async function useExportName(
  handshake: Handshake,
  plan: NegotiationPlan,
  server: string,
): Promise<ExportFacts> {
  const name = Buffer.from(plan.exportName);
  const length = handshake.noZeroes ? 10 : 134;
  let answer: Buffer;
  try {
    answer = await handshake.rawOption(NBD_OPT_EXPORT_NAME, name, length);
  } catch (cause) {
    throw new NbdNegotiationError(
      'NBD_EXPORT_UNKNOWN',
      `${server} closed the connection when asked for export "${plan.exportName}"`,
      { cause, hint: 'this old server answers so to an unknown export: check the name' },
    );
  }
  return {
    exportName: plan.exportName,
    ...decodeExportInfo(answer),
    blockSize: DEFAULT_BLOCK_SIZE,
    blockSizeAdvertised: false,
    canonicalName: undefined,
    description: undefined,
  };
}
