import { UsageError } from '../errors.js';
import type { ExtentList } from '../extents/extent-list.js';
import type { ChainReader } from './chain-reader.js';

/** NBD's base:allocation, as `doc/proto.md` "base:allocation metadata context" has it. */
const ALLOCATION = 'base:allocation';
const HOLE_AND_ZERO = 0x3;
const ALLOCATED = 0x0;
/** QEMU's `qemu:dirty-bitmap:NAME`, as `docs/interop/nbd.rst` of QEMU has it: bit 0 is "dirty". */
const DIRTY_BITMAP = 'qemu:dirty-bitmap:';
const DIRTY = 0x1;
const CLEAN = 0x0;
/** Changes are told in units of this size: a client that reads by sectors or pages has whole ones. Bytes. */
const GRANULARITY = 4096;

interface Status {
  readonly length: number;
  readonly status: number;
}

/** Up to where a status goes; neighbours may have the same. */
interface Run {
  readonly until: number;
  readonly status: number;
}

/** A chain as something that an NBD server can serve: its bytes, what of it is zero, what changed since other points. */
export class ChainSource {
  readonly contexts: readonly string[];
  readonly #reader: ChainReader;
  readonly #bitmaps: ReadonlyMap<string, ExtentList>;

  /** @param changes by the bitmap's name: what changed since then. */
  constructor(reader: ChainReader, changes: Readonly<Record<string, ExtentList>> = {}) {
    this.#reader = reader;
    this.#bitmaps = new Map(Object.entries(changes).map(([name, list]) => [DIRTY_BITMAP + name, list]));
    this.contexts = [ALLOCATION, ...this.#bitmaps.keys()];
  }

  get size(): number {
    return this.#reader.size;
  }

  readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    return this.#reader.readInto(offset, target, signal);
  }

  /** Extents from `offset` on, from the merged maps alone. */
  status(context: string, offset: number, length: number, maxExtents: number): readonly Status[] {
    const extents: { length: number; status: number }[] = [];
    const end = Math.min(offset + length, this.size);
    let start = offset;
    for (const { until, status } of this.#runs(context, offset)) {
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

  #runs(context: string, offset: number): Generator<Run> {
    if (context === ALLOCATION) return this.#allocation(offset);
    const changes = this.#bitmaps.get(context);
    if (changes === undefined) throw new UsageError(`unknown meta context "${context}"`);
    return dirtyRuns(changes, offset, this.size);
  }

  *#allocation(offset: number): Generator<Run> {
    const { segments } = this.#reader.chain;
    for (let index = segments.find(offset); index < segments.count; index++) {
      yield { until: segments.offsetAt(index), status: HOLE_AND_ZERO };
      yield { until: segments.endAt(index), status: segments.isZeroAt(index) ? HOLE_AND_ZERO : ALLOCATED };
    }
    yield { until: this.size, status: HOLE_AND_ZERO };
  }
}

function* dirtyRuns(changes: ExtentList, offset: number, size: number): Generator<Run> {
  // What begins before `offset` and is rounded up may reach it.
  for (let index = changes.find(offset - GRANULARITY); index < changes.count; index++) {
    const start = changes.offsetAt(index);
    const end = start + changes.lengthAt(index);
    yield { until: start - (start % GRANULARITY), status: CLEAN };
    yield { until: Math.ceil(end / GRANULARITY) * GRANULARITY, status: DIRTY };
  }
  yield { until: size, status: CLEAN };
}
