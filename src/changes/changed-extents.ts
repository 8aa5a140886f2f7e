import { AbortedError } from '../errors.js';
import { ExtentKind, type ExtentList } from '../extents/extent-list.js';

/** A changed range with its content. Bytes. */
export type ChangedExtent =
  | { readonly kind: 'data'; readonly offset: number; readonly length: number; readonly data: Uint8Array }
  /** It reads as zeroes now; there is no data. */
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number };

export interface ExtentReader {
  readInto(offset: number, target: Uint8Array): Promise<void>;
}

export interface ReadChangesOptions {
  /** Largest data extent that is handed out; longer ones come in parts. Bytes; default 1 MiB. */
  readonly maxBytes?: number | undefined;
  /** Extents being read ahead of the consumer; default 16. With `maxBytes` it bounds the memory. */
  readonly readAhead?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Part {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/**
 * The extents of a change map in ascending order, with their data, read ahead in parallel up to a bound: a slow
 * consumer holds the reading back. Each `data` is the consumer's own memory.
 * @throws NbdCommandError, NbdConnectionError when a range cannot be read: an iteration that ends without an
 *   error has seen every change.
 */
export async function* readChanges(
  reader: ExtentReader,
  changes: ExtentList,
  options: ReadChangesOptions = {},
): AsyncGenerator<ChangedExtent, void, undefined> {
  const parts = cutParts(changes, options.maxBytes ?? 1 << 20);
  const window: Promise<ChangedExtent>[] = [];
  const fill = () => {
    while (window.length < (options.readAhead ?? 16)) {
      const next = parts.next();
      if (next.done) return;
      const reading = readPart(reader, next.value);
      // Awaited in its turn; until then a failure must not count as unhandled.
      reading.catch(() => undefined);
      window.push(reading);
    }
  };
  try {
    for (fill(); window.length > 0; fill()) {
      if (options.signal?.aborted) throw new AbortedError('reading changes', options.signal.reason);
      yield await window.shift()!;
    }
  } finally {
    await Promise.allSettled(window);
  }
}

function* cutParts(changes: ExtentList, maxBytes: number): Generator<Part, void, undefined> {
  for (let index = 0; index < changes.count; index++) {
    const kind = changes.kindAt(index);
    if (kind === ExtentKind.unchanged) continue;
    const offset = changes.offsetAt(index);
    const length = changes.lengthAt(index);
    const step = kind === ExtentKind.zero ? length : maxBytes;
    for (let at = 0; at < length; at += step) {
      yield { offset: offset + at, length: Math.min(step, length - at), zero: kind === ExtentKind.zero };
    }
  }
}

async function readPart(reader: ExtentReader, { offset, length, zero }: Part): Promise<ChangedExtent> {
  if (zero) return { kind: 'zero', offset, length };
  const data = new Uint8Array(length);
  await reader.readInto(offset, data);
  return { kind: 'data', offset, length, data };
}
