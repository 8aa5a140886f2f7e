import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';

/** Bytes from hex with blanks: `wire('25609513 0000', 'ff')`. */
export function wire(...hex: readonly string[]): Buffer {
  return Buffer.from(hex.join('').replace(/\s+/g, ''), 'hex');
}

/** Text as hex. */
export function ascii(text: string): string {
  return Buffer.from(text).toString('hex');
}

/** A client that knows no NBD: it sends the bytes of the specification and looks at those that come back. */
export class RawClient {
  readonly socket: Socket;
  /** Received and not taken yet. */
  #chunks: Buffer[] = [];
  #length = 0;
  #ended = false;
  #wake: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', bytes => {
      this.#chunks.push(bytes);
      this.#length += bytes.length;
      this.#wake();
    });
    socket.on('error', () => undefined); // a reset is an end like any other
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  static async connect(path: string): Promise<RawClient> {
    const socket = connect(path);
    const client = new RawClient(socket);
    await once(socket, 'connect');
    return client;
  }

  send(...hex: readonly string[]): void {
    this.socket.write(wire(...hex));
  }

  /** Sends bytes in two parts, so that the server is likely to see them apart. */
  async sendSplit(bytes: Buffer, at: number): Promise<void> {
    this.socket.write(bytes.subarray(0, at));
    for (let turns = 0; turns < 4; turns++) await turn();
    this.socket.write(bytes.subarray(at));
  }

  /** The next `length` bytes as hex. */
  async take(length: number): Promise<string> {
    return (await this.takeBytes(length)).toString('hex');
  }

  async takeBytes(length: number): Promise<Buffer> {
    while (this.#length < length) {
      if (this.#ended) throw new Error(`closed after ${this.#all().toString('hex')}`);
      await this.#change();
    }
    const all = this.#all();
    this.#chunks = [all.subarray(length)];
    this.#length -= length;
    return all.subarray(0, length);
  }

  /** Everything until the server closes, as hex. */
  async rest(): Promise<string> {
    while (!this.#ended) await this.#change();
    return this.#all().toString('hex');
  }

  #all(): Buffer {
    const [first, second] = this.#chunks;
    return first && !second ? first : Buffer.concat(this.#chunks);
  }

  #change(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve;
    });
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
