import { InvalidArgumentError } from 'commander';
import type { ServeOptions } from '../../operations/serve.js';

/** `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (this host only); port 0 takes a free one. */
export function parseListenAddress(text: string): ServeOptions['listen'] {
  const [, six, host, digits] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits !== undefined && port <= 65_535) {
    return { kind: 'tcp', host: six ?? (host || 'localhost'), port };
  }
  throw new InvalidArgumentError('expected HOST:PORT, e.g. localhost:10809 or [::1]:0');
}
