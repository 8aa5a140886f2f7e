import type { BlockSource, StatusExtent } from '#nbdelta/nbd/server/block-source.js';

/** A source whose reads from a given byte on wait until somebody opens the gate. */
export class GatedSource implements BlockSource {
  readonly #source: BlockSource;
  readonly #closedFrom: number;
  readonly #opened: Promise<void>;
  #waiting = 0;
  /** Lets every read go on, now and later. Safe twice. */
  open: () => void = () => undefined;

  constructor(source: BlockSource, closedFrom = 0) {
    this.#source = source;
    this.#closedFrom = closedFrom;
    this.#opened = new Promise(resolve => {
      this.open = resolve;
    });
  }

  get size(): number {
    return this.#source.size;
  }

  get contexts(): readonly string[] {
    return this.#source.contexts;
  }

  /** Reads that came to the gate. */
  get waiting(): number {
    return this.#waiting;
  }

  async readInto(offset: number, target: Uint8Array): Promise<void> {
    if (offset >= this.#closedFrom) {
      this.#waiting++;
      await this.#opened;
    }
    await this.#source.readInto(offset, target);
  }

  status(
    context: string,
    offset: number,
    length: number,
    maxExtents: number,
  ): readonly StatusExtent[] | Promise<readonly StatusExtent[]> {
    return this.#source.status(context, offset, length, maxExtents);
  }
}
