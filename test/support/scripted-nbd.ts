import type { ScriptedPeer, SentRequest } from './scripted-peer.js';
import { ascii, be } from './wire-bytes.js';

/*
 * What an honest server says, as hex written from the specification (not by nbdelta's encoders), for scripts
 * that are honest up to the one step that they test.
 */

export const GREETING = '4e42444d41474943 49484156454f5054 0003';
/** HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, DF, CACHE. */
export const FLAGS = 0x04ed;
export const MULTI_CONN = 0x0100;

export const ACK = 1;
export const ERR_UNSUP = 0x80000001;

export function optionReply(option: number, type: number, data = ''): string {
  const length = data.replace(/\s+/g, '').length / 2;
  return `0003e889045565a9 ${be(option, 4)} ${be(type, 4)} ${be(length, 4)} ${data}`;
}

export interface HonestExport {
  readonly size: number;
  readonly flags?: number;
  readonly mode?: 'simple' | 'structured' | 'extended';
  /** Granted meta contexts and their ids, whatever the client asks for. */
  readonly contexts?: Readonly<Record<string, number>>;
  /** NBD_INFO_BLOCK_SIZE as hex: minimum, preferred, maximum. */
  readonly blockSize?: string;
}

export const CONTEXT = { 'base:allocation': 7 };

/** The whole reply to one option of an honest server. */
export function honestAnswer(option: number, disk: HonestExport): string {
  const mode = disk.mode ?? 'structured';
  if (option === 11) return optionReply(11, mode === 'extended' ? ACK : ERR_UNSUP);
  if (option === 8) return optionReply(8, mode === 'simple' ? ERR_UNSUP : ACK);
  if (option === 10) {
    const granted = Object.entries(disk.contexts ?? CONTEXT);
    return [
      ...granted.map(([name, id]) => optionReply(10, 4, be(id, 4) + ascii(name))),
      optionReply(10, ACK),
    ].join('');
  }
  if (option !== 7) return optionReply(option, ERR_UNSUP);
  const info = optionReply(7, 3, `0000 ${be(disk.size, 8)} ${be(disk.flags ?? FLAGS, 2)}`);
  const sizes = disk.blockSize === undefined ? '' : optionReply(7, 3, `0003 ${disk.blockSize}`);
  return info + sizes + optionReply(7, ACK);
}

/** Greets and negotiates as an honest server does, until the client has entered the export. */
export async function negotiate(peer: ScriptedPeer, disk: HonestExport): Promise<void> {
  peer.send(GREETING);
  await peer.take(4);
  for (let option = 0; option !== 7; ) {
    ({ option } = await peer.option());
    peer.send(honestAnswer(option, disk));
  }
}

export function simpleReply(cookie: number, error = 0): string {
  return `67446698 ${be(error, 4)} ${be(cookie, 8)}`;
}

/** A structured reply chunk; `payload` as hex. */
export function chunk(cookie: number, done: boolean, type: number, payload = ''): string {
  const length = payload.replace(/\s+/g, '').length / 2;
  return `668e33ef ${be(done ? 1 : 0, 2)} ${be(type, 2)} ${be(cookie, 8)} ${be(length, 4)} ${payload}`;
}

/** An extended reply chunk. */
export function extendedChunk(
  request: { readonly cookie: number; readonly offset: number },
  done: boolean,
  type: number,
  payload = '',
): string {
  const length = payload.replace(/\s+/g, '').length / 2;
  const ids = `${be(request.cookie, 8)} ${be(request.offset, 8)}`;
  return `6e8a278c ${be(done ? 1 : 0, 2)} ${be(type, 2)} ${ids} ${be(length, 8)} ${payload}`;
}

/** Header and offset of a data chunk that carries `length` bytes; they follow on the wire. */
export function dataHead(cookie: number, done: boolean, offset: number, length: number): string {
  return `668e33ef ${be(done ? 1 : 0, 2)} 0001 ${be(cookie, 8)} ${be(length + 8, 4)} ${be(offset, 8)}`;
}

/** Content of the scripted disk: no two aligned 8-byte words are the same. */
export function diskBytes(offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let index = 0; index < length; index++) {
    const at = offset + index;
    bytes[index] = (at % 8 < 4 ? at >>> 3 : 0x5a) >>> ((at % 4) * 8);
  }
  return bytes;
}

/** Answers one request as an honest server does, in structured mode. */
export function answerHonestly(peer: ScriptedPeer, request: SentRequest): void {
  const { cookie, offset, length, type } = request;
  if (type === 0) peer.send(dataHead(cookie, true, offset, length), diskBytes(offset, length));
  else if (type === 7) peer.send(chunk(cookie, true, 5, `${be(7, 4)} ${be(length, 4)} ${be(0, 4)}`));
  else if (type !== 2) peer.send(chunk(cookie, true, 0));
}

/** Answers every request as an honest server does, until the client leaves. */
export async function serveHonestly(peer: ScriptedPeer): Promise<void> {
  while (true) {
    const request = await peer.request();
    if (request.type === 2) return;
    answerHonestly(peer, request);
  }
}
