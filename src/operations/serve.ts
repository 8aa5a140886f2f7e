import { ChainReader } from '../chain/chain-reader.js';
import { ChainSource } from '../chain/chain-source.js';
import { type OpenChain, openChainArchives } from '../chain/open-chain.js';
import { NbdeltaError, toNbdeltaError, UsageError } from '../errors.js';
import type { NbdAddress } from '../nbd/protocol/uri.js';
import { type NbdServer, type NbdServerOptions, startNbdServer } from '../nbd/server/nbd-server.js';
import type { Repository } from '../repository/repository.js';
import { useRepository } from './open-repository.js';
import { openReadingPool } from './reading-pool.js';

export interface ServeOptions {
  readonly repository: string | Repository;
  /** `MACHINE[@POINT]`. */
  readonly point: string;
  /** One disk; without it all disks, each under its name. */
  readonly disk?: string | undefined;
  /** Where to listen: a unix socket, or host and port (0: a free one). */
  readonly listen: NbdAddress;
  /** Bound on decoded frames kept for each disk. Bytes. */
  readonly cacheBytes?: number | undefined;
  readonly threads?: number | undefined;
  readonly onError?: ((error: NbdeltaError) => void) | undefined;
}

/** A point being served. */
export interface ServedPoint extends AsyncDisposable {
  readonly machine: string;
  readonly point: string;
  readonly disks: readonly { readonly disk: string; readonly size: number; readonly uri: string }[];
  /** Stops and lets go of everything. Safe twice. */
  close(): Promise<void>;
}

/** Serves a point read-only over NBD, straight from its archives: nothing is restored first. */
export async function serve(options: ServeOptions): Promise<ServedPoint> {
  const repository = await useRepository(options.repository);
  const { machine, point, points } = await repository.resolve(options.point);
  const stored = point.manifest.disks.filter(disk => disk.status === 'stored').map(disk => disk.name);
  const names = options.disk === undefined ? stored : [options.disk];
  if (names.length === 0) throw new UsageError(`point ${point.manifest.id} has no stored disk`);
  await using stack = new AsyncStack();
  const chains: OpenChain[] = [];
  for (const name of names) {
    const links = await machine.openChain(points, point.manifest.id, name);
    chains.push(stack.use(await openChainArchives(machine, links)));
  }
  const pool = stack.use(openReadingPool(options.threads));
  const server = stack.use(
    await listen({
      listen: options.listen,
      exports: chains.flatMap(chain => {
        const source = new ChainSource(new ChainReader(chain, { pool, cacheBytes: options.cacheBytes }));
        const description = `${machine.name}@${point.manifest.id} ${chain.disk}`;
        const named = { name: chain.disk, description, source };
        // One disk is also the default export, so that a URI without a name works.
        return chains.length === 1 ? [named, { ...named, name: '' }] : [named];
      }),
      ...(options.onError && { onError: options.onError }),
    }),
  );
  const owned = stack.move();
  return {
    machine: machine.name,
    point: point.manifest.id,
    disks: chains.map(chain => ({ disk: chain.disk, size: chain.size, uri: server.uri(chain.disk) })),
    close: () => owned[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

/** A TCP address has no folder that could be wrong. */
async function listen(options: NbdServerOptions): Promise<NbdServer> {
  try {
    return await startNbdServer(options);
  } catch (cause) {
    const known = toNbdeltaError(cause);
    if (known.code !== 'NBD_LISTEN_FAILED' || options.listen.kind !== 'tcp') throw cause;
    throw new NbdeltaError(known.code, known.message, {
      cause,
      hint: 'check that the address is one of this host, and that its port is free',
      fields: known.fields,
    });
  }
}

/** Things to let go of, last in first out, unless somebody else takes them over. */
class AsyncStack implements AsyncDisposable {
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
