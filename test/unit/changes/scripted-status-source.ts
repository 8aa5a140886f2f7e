import type { StatusSource } from '#nbdelta/changes/status-source.js';
import type { StatusRun } from '#nbdelta/nbd/client/status-run.js';

export const ALLOCATION = 'base:allocation';
export const BITMAP = 'qemu:dirty-bitmap:b';

/** A run of extents from `offset` on. */
export function run(
  offset: number,
  ...extents: readonly (readonly [length: number, status: number])[]
): StatusRun {
  const lengths = Float64Array.from(extents.map(([length]) => length));
  const statuses = Uint32Array.from(extents.map(([, status]) => status));
  return { offset, lengths, statuses, total: lengths.reduce((sum, length) => sum + length, 0) };
}

/** How many bytes a reply covers, given what could be covered; asked once per reply and context. */
export type Reach = (context: string, offset: number, length: number) => number;

/**
 * A server in memory: one status byte for each byte of the disk and context. `reach` decides how far each
 * reply goes in each context, also beyond the end.
 */
export class ScriptedStatusSource implements StatusSource {
  readonly size: number;
  readonly requests: [offset: number, length: number][] = [];
  readonly #models: ReadonlyMap<string, Uint8Array>;
  readonly #reach: Reach;

  constructor(
    size: number,
    models: Readonly<Record<string, Uint8Array>>,
    reach: Reach = (_, __, length) => length,
  ) {
    this.size = size;
    this.#models = new Map(Object.entries(models));
    this.#reach = reach;
  }

  get contexts(): readonly string[] {
    return [...this.#models.keys()];
  }

  blockStatus(offset: number, length: number): Promise<ReadonlyMap<string, StatusRun>> {
    this.requests.push([offset, length]);
    const runs = [...this.#models].map(([name, model]) => {
      const extents = runLengths(model.subarray(offset, offset + this.#reach(name, offset, length)));
      const overrun = this.#reach(name, offset, length) - length;
      if (overrun > 0) extents.push([overrun, 0]);
      return [name, run(offset, ...extents)] as const;
    });
    return Promise.resolve(new Map(runs));
  }
}

function runLengths(model: Uint8Array): [number, number][] {
  const result: [number, number][] = [];
  for (const status of model) {
    const last = result.at(-1);
    if (last?.[1] === status) last[0]++;
    else result.push([1, status]);
  }
  return result;
}
