import type { Point, Since } from './manifest.js';
import { chainPoints, sortPoints } from './point-order.js';

export type SinceAnswer =
  | { readonly kind: 'ok'; readonly since: Since }
  /** The bitmap does not reach back to the parent, or nobody knows whether it does. */
  | { readonly kind: 'mismatch'; readonly text: string };

/**
 * Whether something can build on the point that a bitmap records since, `text`: on `ancestry[0]`, or one before it. A
 * younger bitmap would silently lose what changed between that point and its beginning.
 *
 * @param text a checkpoint's label, a point's id or `latest`; `undefined` when the caller vouches for it.
 * @param ancestry the newest point that could be built on, and everything before it in its chain.
 */
export function resolveSince(
  text: string | undefined,
  points: readonly Point[],
  ancestry: readonly Point[],
): SinceAnswer {
  if (text === undefined) return { kind: 'ok', since: { kind: 'asserted', label: null, point: null } };
  const named = findNamed(text, points);
  if (named === undefined) {
    return { kind: 'mismatch', text: `no point of this machine stands for ${JSON.stringify(text)}` };
  }
  const { id, checkpoint } = named.manifest;
  if (ancestry.some(point => point.manifest.id === id)) {
    return { kind: 'ok', since: { kind: 'point', label: checkpoint, point: id } };
  }
  const parent = ancestry[0]?.manifest.id ?? 'none';
  return {
    kind: 'mismatch',
    text: `the bitmap records since point ${id}, which is neither the parent ${parent} nor before it in its chain`,
  };
}

/** With a label used twice, the bitmap of that name is the younger point's: that one counts. */
function findNamed(text: string, points: readonly Point[]): Point | undefined {
  if (text === 'latest') return chainPoints(points).at(-1);
  return sortPoints(points).findLast(
    ({ manifest: { id, checkpoint, standsFor } }) =>
      id === text ||
      (checkpoint !== null && checkpoint === text) ||
      standsFor.some(entry => entry.id === text),
  );
}
