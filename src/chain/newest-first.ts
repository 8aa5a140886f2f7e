/** Numbers of pieces, the highest on top: a binary heap. */
export class NewestFirst {
  readonly #heap: Uint32Array;
  #count = 0;

  constructor(capacity: number) {
    this.#heap = new Uint32Array(capacity);
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get top(): number {
    return this.#heap[0]!;
  }

  push(piece: number): void {
    const heap = this.#heap;
    let at = this.#count++;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (heap[above]! >= piece) break;
      heap[at] = heap[above]!;
      at = above;
    }
    heap[at] = piece;
  }

  pop(): void {
    const heap = this.#heap;
    const piece = heap[--this.#count]!;
    let at = 0;
    for (let below = 1; below < this.#count; below = 2 * at + 1) {
      if (below + 1 < this.#count && heap[below + 1]! > heap[below]!) below++;
      if (heap[below]! <= piece) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = piece;
  }
}
