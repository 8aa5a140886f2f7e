import type { Manifest, Point } from './manifest.js';
import { sortPoints } from './point-order.js';

type Reference = NonNullable<Manifest['parent']>;

/**
 * Points by id, and by the ids that they stand for: a merged point takes the place of the newest one that it was
 * merged from, whose children name that one for ever.
 */
export class PointIndex {
  readonly #byId = new Map<string, Point>();
  readonly #standIns = new Map<string, Point[]>();

  constructor(points: readonly Point[]) {
    // The latest merge comes last, and is the one that is found.
    for (const point of sortPoints(points)) {
      this.#byId.set(point.manifest.id, point);
      for (const { id } of point.manifest.standsFor) this.#addStandIn(id, point);
    }
  }

  #addStandIn(id: string, point: Point): void {
    const known = this.#standIns.get(id);
    if (known === undefined) this.#standIns.set(id, [point]);
    else known.push(point);
  }

  /** The point of this id, or the one that stands for it. */
  find(id: string): Point | undefined {
    return this.#byId.get(id) ?? this.#standIns.get(id)?.at(-1);
  }

  /**
   * The point that a child was stored on, or the one that stands for it; `undefined` when there is neither. One
   * with another digest than `reference` says is returned only where there is no better one: it is for the error.
   */
  parent(reference: Reference): Point | undefined {
    const own = this.#byId.get(reference.id);
    if (own?.sha256 === reference.manifestSha256) return own;
    const standIns = this.#standIns.get(reference.id) ?? [];
    return standIns.findLast(point => isMeant(point, reference)) ?? own ?? standIns.at(-1);
  }
}

/** Whether `point` is the very one that a child was stored on, or stands for it. */
export function isMeant(point: Point, reference: Reference): boolean {
  const { id, standsFor } = point.manifest;
  if (id === reference.id) return point.sha256 === reference.manifestSha256;
  return standsFor.some(
    entry => entry.id === reference.id && entry.manifestSha256 === reference.manifestSha256,
  );
}
