import { SeededRandom } from './random.js';

/** What a guest does to a disk; byte offsets and lengths, at any alignment. */
export type DiskOperation =
  | { readonly kind: 'fill'; readonly offset: number; readonly length: number; readonly byte: number }
  /** Writes the model's pattern from its start, repeated. */
  | { readonly kind: 'pattern'; readonly offset: number; readonly length: number }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly unmap: boolean }
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number };

export interface DiskModelOptions {
  /** Bytes; any number above 0. */
  readonly size: number;
  readonly seed: number;
  /** Cluster of the qcow2 image; 64 KiB by default. */
  readonly clusterSize?: number;
}

/** Prime, so that no block of the pattern equals its neighbour. */
const PATTERN_LENGTH = 4_093;

/**
 * A disk in memory that does what a qcow2 image (without backing file) does, to compare a restored image
 * with: random operations are applied here and given to qemu-io.
 */
export class DiskModel {
  readonly content: Buffer;
  /** To be written to a file of its own, for {@link commandOf}. */
  readonly pattern: Buffer;
  readonly #random: SeededRandom;
  readonly #clusterSize: number;

  constructor(options: DiskModelOptions) {
    this.content = Buffer.alloc(options.size);
    this.#random = new SeededRandom(options.seed);
    this.#clusterSize = options.clusterSize ?? 65_536;
    this.pattern = this.#random.bytes(PATTERN_LENGTH);
  }

  /** Plans `count` random operations and applies them. */
  randomOperations(count: number): readonly DiskOperation[] {
    return Array.from({ length: count }, () => {
      const operation = this.#randomOperation();
      this.apply(operation);
      return operation;
    });
  }

  #randomOperation(): DiskOperation {
    const range = this.#randomRange();
    switch (this.#random.pick(['fill', 'pattern', 'pattern', 'zero', 'discard'] as const)) {
      case 'fill':
        return { kind: 'fill', ...range, byte: 1 + this.#random.below(255) };
      case 'pattern':
        return { kind: 'pattern', ...range };
      case 'zero':
        return { kind: 'zero', ...range, unmap: this.#random.below(2) === 1 };
      case 'discard':
        return { kind: 'discard', ...range };
    }
  }

  /** Half of all ranges lie at odd bytes, the others on sectors, pages or clusters. */
  #randomRange(): { readonly offset: number; readonly length: number } {
    const size = this.content.length;
    const unit = this.#random.pick([1, 1, 1, 512, 4_096, this.#clusterSize]);
    const align = (value: number): number => value - (value % unit);
    const offset = align(this.#random.below(size));
    const longest = Math.min(size - offset, this.#random.pick([600, 10_000, 5 * this.#clusterSize]));
    return {
      offset,
      length: Math.max(align(1 + this.#random.below(longest)), Math.min(unit, size - offset)),
    };
  }

  apply(operation: DiskOperation): void {
    const { offset, length } = operation;
    if (operation.kind === 'fill') this.content.fill(operation.byte, offset, offset + length);
    else if (operation.kind === 'pattern') this.content.fill(this.pattern, offset, offset + length);
    else if (operation.kind === 'zero') this.content.fill(0, offset, offset + length);
    else this.#discard(offset, offset + length);
  }

  /** qcow2 discards whole clusters only (the last may be cut off by the disk's end); the rest keeps its bytes. */
  #discard(start: number, end: number): void {
    const cluster = this.#clusterSize;
    const from = Math.ceil(start / cluster) * cluster;
    const to = end === this.content.length ? end : Math.floor(end / cluster) * cluster;
    if (from < to) this.content.fill(0, from, to);
  }

  /** The operation as a qemu-io command; `patternFile` holds {@link pattern}. */
  static commandOf(operation: DiskOperation, patternFile: string): string {
    const range = `${operation.offset} ${operation.length}`;
    switch (operation.kind) {
      case 'fill':
        return `write -P ${operation.byte} ${range}`;
      case 'pattern':
        return `write -s ${patternFile} ${range}`;
      case 'zero':
        return `write -z ${operation.unmap ? '-u ' : ''}${range}`;
      case 'discard':
        return `discard ${range}`;
    }
  }
}
