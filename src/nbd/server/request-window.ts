/** Bounds on what one connection has in flight, from the request's arrival until the client took the reply. */
export interface WindowLimits {
  readonly requests: number;
  /** Bytes of replies; a single request may be larger and then goes alone. */
  readonly bytes: number;
}

/**
 * Counts the requests in flight of one connection. While it is full its reader waits, so the socket fills and
 * the client has to stop: a client that does not read its replies costs this much memory and no more.
 */
export class RequestWindow {
  readonly #limits: WindowLimits;
  #requests = 0;
  #bytes = 0;
  /** The reader, when it waits. There is one reader. */
  #wake: (() => void) | undefined;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
  }

  /** Requests in flight. */
  get requests(): number {
    return this.#requests;
  }

  /** Waits for room, then takes it. */
  async enter(bytes: number): Promise<void> {
    while (!this.#hasRoom(bytes)) await this.#change();
    this.#requests++;
    this.#bytes += bytes;
  }

  #hasRoom(bytes: number): boolean {
    if (this.#requests === 0) return true;
    return this.#requests < this.#limits.requests && this.#bytes + bytes <= this.#limits.bytes;
  }

  leave(bytes: number): void {
    this.#requests--;
    this.#bytes -= bytes;
    this.#wake?.();
    this.#wake = undefined;
  }

  /** Waits until nothing is in flight. */
  async idle(): Promise<void> {
    while (this.#requests > 0) await this.#change();
  }

  #change(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve;
    });
  }
}
