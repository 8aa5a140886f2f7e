import type { BlockSource, StatusExtent } from '#nbdelta/nbd/server/block-source.js';

export interface SampleOptions {
  readonly content: Buffer;
  /** Meta context → its extents from 0 to the end. */
  readonly maps?: Readonly<Record<string, readonly StatusExtent[]>>;
  readonly beforeRead?: (offset: number, length: number, signal?: AbortSignal) => Promise<void> | void;
}

/** A source that a test controls; it counts what it is asked. */
export class SampleSource implements BlockSource {
  readonly size: number;
  readonly contexts: readonly string[];
  readonly reads: { readonly offset: number; readonly length: number }[] = [];
  reading = 0;
  readonly #options: SampleOptions;

  constructor(options: SampleOptions) {
    this.#options = options;
    this.size = options.content.length;
    this.contexts = Object.keys(options.maps ?? {});
  }

  async readInto(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.reads.push({ offset, length: target.byteLength });
    this.reading++;
    try {
      await this.#options.beforeRead?.(offset, target.byteLength, signal);
      target.set(this.#options.content.subarray(offset, offset + target.byteLength));
    } finally {
      this.reading--;
    }
  }

  status(context: string, offset: number, length: number, maxExtents: number): readonly StatusExtent[] {
    const result: StatusExtent[] = [];
    let start = 0;
    for (const extent of this.#options.maps?.[context] ?? []) {
      const from = Math.max(start, offset);
      const to = Math.min(start + extent.length, offset + length);
      if (from < to && result.length < maxExtents) result.push({ length: to - from, status: extent.status });
      start += extent.length;
    }
    return result;
  }
}
