import type { Socket } from 'node:net';
import { wire } from './wire-bytes.js';

/** One option as a client sent it. */
export interface SentOption {
  readonly option: number;
  readonly data: Buffer;
}

/** One request as a client sent it. Offsets and lengths in bytes. */
export interface SentRequest {
  readonly flags: number;
  readonly type: number;
  readonly cookie: number;
  readonly offset: number;
  readonly length: number;
  readonly data: Buffer;
}

/** The client hung up although the script expected more of it. */
export class ClientGone extends Error {}

/** The server's end of one connection, byte by byte. */
export class ScriptedPeer {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #gone = false;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', bytes => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    socket.on('error', () => undefined); // 'close' follows
    const gone = () => {
      this.#gone = true;
      this.#wake();
    };
    socket.on('end', gone).on('close', gone);
  }

  /** Whether the client hung up. */
  get isGone(): boolean {
    return this.#gone;
  }

  /** Resolves when the client has hung up. */
  async gone(): Promise<void> {
    while (!this.#gone) await this.#change();
  }

  #change(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve;
    });
  }

  send(...parts: readonly (string | Uint8Array)[]): void {
    const bytes = parts.map(part => (typeof part === 'string' ? wire(part) : part));
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(bytes));
  }

  /** The next `length` bytes; throws when the client hangs up before. */
  async take(length: number): Promise<Buffer> {
    while (this.#received.length < length) {
      if (this.#gone) throw new ClientGone(`the client hung up, ${length} more bytes were expected`);
      await this.#change();
    }
    const taken = Buffer.from(this.#received.subarray(0, length));
    this.#received = this.#received.subarray(length);
    return taken;
  }

  async option(): Promise<SentOption> {
    const header = await this.take(16);
    return { option: header.readUInt32BE(8), data: await this.take(header.readUInt32BE(12)) };
  }

  async request(extended = false): Promise<SentRequest> {
    const header = await this.take(extended ? 32 : 28);
    const magic = header.readUInt32BE(0);
    if (magic !== (extended ? 0x21e41c71 : 0x25609513)) throw new Error(`request ${header.toString('hex')}`);
    const [flags, type] = [header.readUInt16BE(4), header.readUInt16BE(6)];
    const length = extended ? Number(header.readBigUInt64BE(24)) : header.readUInt32BE(24);
    const cookie = Number(header.readBigUInt64BE(8));
    const offset = Number(header.readBigUInt64BE(16));
    return { flags, type, cookie, offset, length, data: await this.take(type === 1 ? length : 0) };
  }

  /** Says nothing any more, for as long as the client stays. */
  hang(): Promise<void> {
    return this.gone();
  }

  end(): void {
    this.socket.end();
  }

  /** Cuts the connection without a word. */
  cut(): void {
    this.socket.destroy();
  }
}
