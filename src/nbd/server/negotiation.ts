import type { ReplyMode } from '../protocol/reply-stream.js';
import type { ServedExport } from './served-export.js';

/** What a server grants to every client. */
export interface HandshakePolicy {
  readonly exports: ReadonlyMap<string, ServedExport>;
  /** FORCEDTLS: nothing is told or served without TLS. When false there is no TLS at all. */
  readonly tls: boolean;
  readonly extendedHeaders: boolean;
}

export interface SelectedContext {
  readonly id: number;
  readonly name: string;
}

/** What a handshake that succeeded agreed on. */
export interface Negotiated {
  readonly served: ServedExport;
  readonly mode: ReplyMode;
  readonly contexts: readonly SelectedContext[];
}

/** What one client has asked for so far. */
export class Negotiation {
  readonly policy: HandshakePolicy;
  mode: ReplyMode = 'simple';
  #secured = false;
  #selection: { readonly exportName: string; readonly contexts: readonly SelectedContext[] } | undefined;

  constructor(policy: HandshakePolicy) {
    this.policy = policy;
  }

  get secured(): boolean {
    return this.#secured;
  }

  /** TLS is demanded and not there yet. */
  get mustSecure(): boolean {
    return this.policy.tls && !this.#secured;
  }

  /** "the server MUST NOT preserve any negotiation state": what was asked in the clear may be an attacker's. */
  restartSecured(): void {
    this.#secured = true;
    this.mode = 'simple';
    this.#selection = undefined;
  }

  /** Every NBD_OPT_SET_META_CONTEXT replaces the selection, also one that fails. */
  forgetContexts(): void {
    this.#selection = undefined;
  }

  /** Selects those of the export's contexts whose exact name is queried. */
  selectContexts(served: ServedExport, queries: readonly string[]): readonly SelectedContext[] {
    const contexts = [...new Set(served.source.contexts)]
      .map((name, id) => ({ id, name }))
      .filter(({ name }) => queries.includes(name));
    this.#selection = { exportName: served.name, contexts };
    return contexts;
  }

  /** The export to serve, with the contexts that were selected for it and not for another; undefined if unknown. */
  choose(exportName: string): Negotiated | undefined {
    const served = this.policy.exports.get(exportName);
    if (!served) return undefined;
    const contexts = this.#selection?.exportName === exportName ? this.#selection.contexts : [];
    return { served, mode: this.mode, contexts };
  }
}
