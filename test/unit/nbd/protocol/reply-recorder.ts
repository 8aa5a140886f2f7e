import { feed } from '#nbdelta/nbd/protocol/byte-sink.js';
import {
  type ExpectedReply,
  type ReplyHandler,
  type ReplyMode,
  ReplyStream,
} from '#nbdelta/nbd/protocol/reply-stream.js';

interface Recorded extends ExpectedReply {
  readonly cookie: number;
  readonly target: Buffer;
}

/** A handler that writes down what a stream tells it, one line each. */
export class ReplyRecorder implements ReplyHandler<Recorded> {
  readonly lines: string[] = [];
  readonly #commands = new Map<number, Recorded>();

  expect(cookie: number, type: number, offset: number, length: number): this {
    const target = Buffer.alloc(type === 0 ? length : 0, 0xee);
    this.#commands.set(cookie, { cookie, type, offset, length, target });
    return this;
  }

  lookup(cookie: number): Recorded | undefined {
    return this.#commands.get(cookie);
  }

  dataTarget(command: Recorded, offset: number, length: number): Uint8Array {
    this.lines.push(`${command.cookie} data ${offset}+${length}`);
    return command.target.subarray(offset - command.offset, offset - command.offset + length);
  }

  onHole(command: Recorded, offset: number, length: number): void {
    this.lines.push(`${command.cookie} hole ${offset}+${length}`);
    command.target.fill(0, offset - command.offset, offset - command.offset + length);
  }

  onStatus(command: Recorded, payload: Buffer, extended: boolean): void {
    this.lines.push(`${command.cookie} status${extended ? ' extended' : ''} ${payload.toString('hex')}`);
  }

  onError(command: Recorded, errno: number, message: string, offset: number | undefined): void {
    this.lines.push(`${command.cookie} error ${errno} "${message}" ${offset ?? '-'}`);
  }

  onDone(command: Recorded): void {
    const content = command.type === 0 ? ` ${command.target.toString('hex')}` : '';
    this.lines.push(`${command.cookie} done${content}`);
    this.#commands.delete(command.cookie);
  }
}

/** Feeds pieces to a new stream; the lines of what it told. */
export function decode(
  mode: ReplyMode,
  recorder: ReplyRecorder,
  pieces: readonly Uint8Array[],
): readonly string[] {
  const stream = new ReplyStream(mode, recorder);
  for (const piece of pieces) feed(stream, piece);
  return recorder.lines;
}
