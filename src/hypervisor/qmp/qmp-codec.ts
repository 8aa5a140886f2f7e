import * as z from 'zod';

/** A value that a QMP command takes. */
export type QmpValue = string | number | boolean | null | readonly QmpValue[] | QmpArguments;
export interface QmpArguments {
  readonly [name: string]: QmpValue | undefined;
}

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** One line from QEMU: docs/interop/qmp-spec. */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | {
      readonly kind: 'return';
      /** Of the command; `undefined`: it had none that is ours. */
      readonly id: string | undefined;
      readonly value: unknown;
    }
  | {
      readonly kind: 'error';
      readonly id: string | undefined;
      readonly errorClass: string;
      readonly text: string;
    }
  | { readonly kind: 'event'; readonly event: QmpEvent };

/** What came is not QMP. */
export class NotQmpError extends Error {}

const version = z.object({ qemu: z.object({ major: z.int(), minor: z.int(), micro: z.int() }) });
const greeting = z.object({ QMP: z.object({ version }) });
/** Others give their commands ids of any kind, or none. */
const id = z.string().optional().catch(undefined);
const event = z.object({ event: z.string(), data: z.record(z.string(), z.unknown()).optional() });
const failure = z.object({
  error: z.object({ class: z.string(), desc: z.string() }),
  id,
});
const success = z.object({ return: z.unknown(), id }).refine(reply => 'return' in reply);

/** `{"QMP": {"version": {"qemu": …}}}` and `query-version` say it in the same way. */
export function formatQemuVersion(seen: z.output<typeof version>): string {
  return `${seen.qemu.major}.${seen.qemu.minor}.${seen.qemu.micro}`;
}

/** @throws NotQmpError */
export function decodeQmpMessage(line: string): QmpMessage {
  const value = parseJson(line);
  const answered = success.safeParse(value);
  if (answered.success) return { kind: 'return', id: answered.data.id, value: answered.data.return };
  const happened = event.safeParse(value);
  if (happened.success) {
    return { kind: 'event', event: { name: happened.data.event, data: happened.data.data ?? {} } };
  }
  const failed = failure.safeParse(value);
  if (failed.success) {
    const { error } = failed.data;
    return { kind: 'error', id: failed.data.id, errorClass: error.class, text: error.desc };
  }
  const greeted = greeting.safeParse(value);
  if (greeted.success) return { kind: 'greeting', version: formatQemuVersion(greeted.data.QMP.version) };
  throw new NotQmpError(`seen: ${sample(line)}`);
}

export function encodeQmpCommand(id: string, command: string, args: QmpArguments): string {
  return `${JSON.stringify({ execute: command, arguments: args, id })}\n`;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new NotQmpError(`seen: ${sample(line)}`, { cause });
  }
}

/** Enough of a line to see what it is. */
function sample(line: string): string {
  return JSON.stringify(line.slice(0, 60));
}

/**
 * Cuts a byte stream into lines, wherever the pieces end: a character of several bytes may be cut in two, so it is
 * the bytes that are kept. A peer that sends no end of line does not fill the memory.
 */
export class LineSplitter {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #kept = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @throws NotQmpError when a line is longer than allowed. */
  *push(bytes: Buffer): Generator<string> {
    let start = 0;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, start)) {
      this.#keep(bytes.subarray(start, end));
      start = end + 1;
      const line = Buffer.concat(this.#pieces, this.#kept).toString('utf8').trim();
      this.#pieces = [];
      this.#kept = 0;
      if (line !== '') yield line;
    }
    this.#keep(bytes.subarray(start));
  }

  #keep(piece: Buffer): void {
    if (piece.length === 0) return;
    this.#kept += piece.length;
    if (this.#kept > this.#maxBytes) throw new NotQmpError(`a line has more than ${this.#maxBytes} bytes`);
    this.#pieces.push(piece);
  }
}
