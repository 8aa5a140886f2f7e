import { UsageError } from '../errors.js';
import type { ChainReader } from './chain-reader.js';

/** NBD's base:allocation, as `doc/proto.md` "base:allocation metadata context" has it. */
const ALLOCATION = 'base:allocation';
const HOLE_AND_ZERO = 0x3;
const ALLOCATED = 0x0;

interface Status {
  readonly length: number;
  readonly status: number;
}

/** A chain as something that an NBD server can serve: its bytes, and what of it is zero. */
export class ChainSource {
  readonly contexts: readonly string[] = [ALLOCATION];
  readonly #reader: ChainReader;

  constructor(reader: ChainReader) {
    this.#reader = reader;
  }

  get size(): number {
    return this.#reader.size;
  }

  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    return this.#reader.readInto(offset, target, signal);
  }

  /** Extents from `offset` on, from the merged map alone. */
  status(context: string, offset: number, length: number, maxExtents: number): readonly Status[] {
    if (context !== ALLOCATION) throw new UsageError(`unknown meta context "${context}"`);
    const extents: { length: number; status: number }[] = [];
    const end = Math.min(offset + length, this.size);
    let start = offset;
    for (const { until, status } of this.#runs(offset)) {
      const stop = Math.min(until, end);
      const last = extents.at(-1);
      if (stop <= start) continue;
      if (last?.status === status) last.length += stop - start;
      else if (extents.length === maxExtents) break;
      else extents.push({ length: stop - start, status });
      start = stop;
      if (stop === end) break;
    }
    return extents;
  }

  /** Where each run of one status ends; neighbours may have the same. */
  *#runs(offset: number): Generator<{ readonly until: number; readonly status: number }> {
    const { segments } = this.#reader.chain;
    for (let index = segments.find(offset); index < segments.count; index++) {
      yield { until: segments.offsetAt(index), status: HOLE_AND_ZERO };
      yield { until: segments.endAt(index), status: segments.isZeroAt(index) ? HOLE_AND_ZERO : ALLOCATED };
    }
    yield { until: this.size, status: HOLE_AND_ZERO };
  }
}
