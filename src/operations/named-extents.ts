import type { Extent, ExtentKind } from '../extents/extent-list.js';
import type { ExportMap } from './map-export.js';

/** An extent as programs outside see it. Bytes. */
export interface NamedExtent {
  readonly offset: number;
  readonly length: number;
  readonly kind: keyof typeof ExtentKind;
}

const NAMES: readonly NamedExtent['kind'][] = ['data', 'zero', 'unchanged'];

/** A map's extents with their kinds by name, one at a time: a disk has millions. */
export function namedExtents(map: ExportMap): Generator<NamedExtent, void, undefined> {
  return nameExtents(map.extents());
}

/** The same of any extents. */
export function* nameExtents(extents: Iterable<Extent>): Generator<NamedExtent, void, undefined> {
  for (const { offset, length, kind } of extents) yield { offset, length, kind: NAMES[kind]! };
}
