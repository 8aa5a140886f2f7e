import { ChainReader } from '../chain/chain-reader.js';
import { ChainSource } from '../chain/chain-source.js';
import { NbdeltaError, toNbdeltaError } from '../errors.js';
import type { NbdAddress } from '../nbd/protocol/uri.js';
import { type NbdServer, type NbdServerOptions, startNbdServer } from '../nbd/server/nbd-server.js';
import type { ServerTls } from '../nbd/server/server-tls.js';
import type { Repository } from '../repository/repository.js';
import { AsyncStack } from './async-stack.js';
import { openHeldDisk } from './open-held-disk.js';
import { useRepository } from './open-repository.js';
import { openReadingPool } from './reading-pool.js';
import { changesSince, diskNames, holdBases, type OpenDisk } from './served-disks.js';

export interface ServeOptions {
  readonly repository: string | Repository;
  /** `MACHINE[@POINT]`. */
  readonly point: string;
  /** One disk; without it all disks, each under its name. */
  readonly disk?: string | undefined;
  /**
   * Earlier points, as after the `@`: what changed since each is offered as a dirty bitmap whose name is the
   * point's id, `qemu:dirty-bitmap:ID`, so that a backup of this is incremental too.
   */
  readonly since?: readonly string[] | undefined;
  /** When given, only clients with TLS are served. */
  readonly tls?: ServerTls | undefined;
  /** Where to listen: a unix socket, or host and port (0: a free one). */
  readonly listen: NbdAddress;
  /** Bound on decoded frames kept for each disk. Bytes. */
  readonly cacheBytes?: number | undefined;
  readonly threads?: number | undefined;
  /** Stops the opening; what is served is stopped by `close`. */
  readonly signal?: AbortSignal | undefined;
  readonly onError?: ((error: NbdeltaError) => void) | undefined;
}

export interface ServedDisk {
  readonly disk: string;
  /** Bytes. */
  readonly size: number;
  readonly uri: string;
  /** Names of its dirty bitmaps: ids of points. */
  readonly bitmaps: readonly string[];
}

/** A point being served. */
export interface ServedPoint extends AsyncDisposable {
  readonly machine: string;
  readonly point: string;
  readonly disks: readonly ServedDisk[];
  /** Stops and lets go of everything. Safe twice. */
  close(): Promise<void>;
}

/** Serves a point read-only over NBD, straight from its archives: nothing is restored first. */
export async function serve(options: ServeOptions): Promise<ServedPoint> {
  const repository = await useRepository(options.repository);
  await using stack = new AsyncStack();
  const held = stack.use(await repository.hold(options.point, 'serve'));
  const { machine, point } = held;
  const bases = await holdBases(repository, held, options.since ?? []);
  await using _bases = bases;
  const disks: OpenDisk[] = [];
  for (const name of diskNames(point.manifest, options.disk)) {
    const chain = stack.use(await openHeldDisk(held, name, options));
    disks.push({ chain, changes: await changesSince(bases.points, chain) });
  }
  const pool = stack.use(openReadingPool(options.threads));
  const server = stack.use(
    await listen({
      listen: options.listen,
      exports: disks.flatMap(({ chain, changes }) => {
        const reader = new ChainReader(chain, { pool, cacheBytes: options.cacheBytes });
        const description = `${machine.name}@${point.manifest.id} ${chain.disk}`;
        const named = { name: chain.disk, description, source: new ChainSource(reader, changes) };
        // One disk is also the default export, so that a URI without a name works.
        return disks.length === 1 ? [named, { ...named, name: '' }] : [named];
      }),
      ...(options.tls && { tls: options.tls }),
      ...(options.onError && { onError: options.onError }),
    }),
  );
  const owned = stack.move();
  return {
    machine: machine.name,
    point: point.manifest.id,
    disks: disks.map(({ chain, changes }) => ({
      ...{ disk: chain.disk, size: chain.size, uri: server.uri(chain.disk) },
      bitmaps: Object.keys(changes),
    })),
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
