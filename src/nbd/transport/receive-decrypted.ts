import type { TLSSocket } from 'node:tls';
import { receiveChunks, receiveDirectly, type SocketPipe } from './socket-pipe.js';

/** What Node keeps of `onread`, by the names of its symbols, and the method that hands a buffer to a handle. */
interface OnReadParts {
  readonly kBuffer: symbol;
  readonly kBufferCb: symbol;
  readonly kBufferGen: symbol;
  readonly useUserBuffer: (buffer: Uint8Array) => void;
}

/**
 * Receives what a TLS socket decrypts straight into the memory of the pipe's sink. Node offers `onread` for TLS that
 * it connects itself, not for a connection that is upgraded, as NBD's are: without it every record of 16 KiB costs memory
 * of its own, an event and a copy. Where this Node has not the parts that `onread` is made of, records come as chunks.
 */
export function receiveDecrypted(secure: TLSSocket, pipe: SocketPipe): void {
  const parts = onReadParts(secure);
  if (parts === undefined) {
    receiveChunks(secure, pipe);
    return;
  }
  // What was decrypted before now lies in the stream; nothing comes to it any more after this.
  const early: Uint8Array | null = secure.read();
  if (early !== null) pipe.receive(early);
  const receiver = receiveDirectly();
  receiver.bind(pipe);
  const first = receiver.onread.buffer();
  Object.assign(secure, {
    [parts.kBuffer]: first,
    [parts.kBufferCb]: receiver.onread.callback,
    [parts.kBufferGen]: receiver.onread.buffer,
  });
  parts.useUserBuffer(first);
  secure.read(0);
}

/** @returns undefined when one of them is missing, or is in use. */
function onReadParts(secure: TLSSocket): OnReadParts | undefined {
  const symbols = Object.getOwnPropertySymbols(secure);
  const unused = (name: string) =>
    symbols.find(symbol => symbol.description === name && Reflect.get(secure, symbol) === null);
  const [kBuffer, kBufferCb, kBufferGen] = [unused('kBuffer'), unused('kBufferCb'), unused('kBufferGen')];
  const handle: unknown = Reflect.get(secure, '_handle');
  if (kBuffer === undefined || kBufferCb === undefined || kBufferGen === undefined) return undefined;
  if (typeof handle !== 'object' || handle === null) return undefined;
  const method: unknown = Reflect.get(handle, 'useUserBuffer');
  if (typeof method !== 'function') return undefined;
  return { kBuffer, kBufferCb, kBufferGen, useUserBuffer: buffer => void method.call(handle, buffer) };
}
