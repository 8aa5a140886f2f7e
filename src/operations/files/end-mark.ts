/** Finds where a reply ends in a stream of bytes, however that is cut into pieces. */
export class EndMark {
  readonly #mark: Buffer;
  /** Bytes that may be the mark's beginning. */
  #held: Buffer = Buffer.alloc(0);

  /** @param mark random, so that no content can hold it on purpose. */
  constructor(mark: string) {
    this.#mark = Buffer.from(mark, 'latin1');
  }

  /** @returns what is certainly before the mark, and whether the mark is there. Nothing comes after it. */
  push(piece: Uint8Array): { readonly bytes: Buffer; readonly ended: boolean } {
    const all = this.#held.length === 0 ? Buffer.from(piece) : Buffer.concat([this.#held, piece]);
    const at = all.indexOf(this.#mark);
    if (at >= 0) {
      this.#held = Buffer.alloc(0);
      return { bytes: all.subarray(0, at), ended: true };
    }
    const kept = Math.min(this.#mark.length - 1, all.length);
    this.#held = all.subarray(all.length - kept);
    return { bytes: all.subarray(0, all.length - kept), ended: false };
  }
}
