import { connect, listPoints, type Manifest, serve, verify } from '#nbdelta/index.js';
import { expectSameBytes, restoreBytes } from '../restore-check.js';
import type { TempFolder } from '../temp-folder.js';
import { socketPath, TrackedGuest } from '../tracked-guest.js';

/** Disk of the guest. */
export const DISK = 'vda';
/** Bytes of the disk at first. */
export const FIRST_SIZE = 300_000;

/**
 * A guest, its repository, and the model: what every point must read as. Steps change both and say so here.
 */
export class ChainWorld {
  readonly folder: TempFolder;
  readonly guest = new TrackedGuest(FIRST_SIZE);
  /** Of every id that a point ever had, here or in a copy: what it reads as, now and for ever. */
  readonly #contents = new Map<string, Buffer>();
  /** Repositories besides the guest's own. */
  readonly copies = new Set<string>();
  /** Ids of the repository's points. */
  readonly #points = new Set<string>();
  /** What was done so far. */
  readonly done: string[] = [];

  constructor(folder: TempFolder) {
    this.folder = folder;
  }

  /** What every operation takes. */
  get where() {
    return { repository: this.folder.file('repo'), machine: 'guest', threads: 1 };
  }

  /** The points of the repository, oldest first. */
  async points(): Promise<readonly Manifest[]> {
    return (await listPoints({ repository: this.where.repository }))[0]!.points;
  }

  /** The `number`-th point, counted round and round. */
  async pick(number: number): Promise<string> {
    const points = await this.points();
    return points[number % points.length]!.id;
  }

  /** A point is there that reads as `content`. */
  appeared(id: string, content: Buffer): void {
    this.#contents.set(id, content);
    this.#points.add(id);
  }

  /** Points are none any more. */
  vanished(ids: Iterable<string>): void {
    for (const id of ids) this.#points.delete(id);
  }

  /** What a point, of whatever repository, reads as. */
  contentOf(id: string): Buffer {
    const content = this.#contents.get(id);
    if (content === undefined) throw new Error(`there is a point ${id} that nobody made`);
    return content;
  }

  /** Compares the repository with the model: which points there are, and what each reads as where it is served. */
  async check(): Promise<void> {
    const ids = (await this.points()).map(point => point.id);
    const expected = [...this.#points].sort().join(' ');
    if ([...ids].sort().join(' ') !== expected)
      throw new Error(`points ${ids.join(' ')}, expected ${expected}`);
    await Promise.all(ids.map(id => this.#checkServed(id)));
  }

  /** Whether every point of a repository restores to what the model says, and every digest is right. */
  async checkRestores(repository: string): Promise<void> {
    for (const { id } of (await listPoints({ repository }))[0]!.points) {
      expectSameBytes(await restoreBytes(repository, `guest@${id}`), this.contentOf(id), `${id}, restored`);
    }
    const { ok, problems } = await verify({ repository, threads: 1 });
    if (!ok) throw new Error(`verify: ${JSON.stringify(problems)}`);
  }

  async #checkServed(id: string): Promise<void> {
    const { repository, threads } = this.where;
    const listen = { kind: 'unix', path: socketPath(this.folder) } as const;
    await using served = await serve({ repository, threads, point: `guest@${id}`, listen });
    await using client = await connect(served.disks[0]!.uri);
    expectSameBytes(await client.read(0, client.size), this.contentOf(id), `${id}, served`);
  }
}
