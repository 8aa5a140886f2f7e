/** Things to let go of, last in first out, unless somebody else takes them over. */
export class AsyncStack implements AsyncDisposable {
  #owned: AsyncDisposable[] = [];

  use<Resource extends AsyncDisposable>(resource: Resource): Resource {
    this.#owned.push(resource);
    return resource;
  }

  /** Hands everything to a new stack; this one lets go of nothing then. */
  move(): AsyncStack {
    const next = new AsyncStack();
    next.#owned = this.#owned;
    this.#owned = [];
    return next;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const resource of this.#owned.splice(0).reverse()) await resource[Symbol.asyncDispose]();
  }
}
