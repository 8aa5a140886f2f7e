import type { NamedExtent } from '../../operations/named-extents.js';
import { formatBytes, formatCount, formatPlural } from './format.js';
import type { Style } from './style.js';

/** Extents shown at either end of a long list. */
const SHOWN = 20;
const WIDTHS = [18, 18, 9] as const;

/** Extents one a line, as they come: offset, length, kind, length for people. */
export function* formatExtents(
  extents: Iterable<NamedExtent>,
  count: number,
  all: boolean,
  style: Style,
): Generator<string, void, undefined> {
  yield style.dim(row('OFFSET', 'LENGTH', 'KIND', 'SIZE'));
  const hidden = all ? 0 : count - 2 * SHOWN;
  let index = 0;
  for (const { offset, length, kind } of extents) {
    const isHidden = hidden > 0 && index >= SHOWN && index < SHOWN + hidden;
    if (!isHidden) yield row(formatCount(offset), formatCount(length), kind, formatBytes(length));
    else if (index === SHOWN)
      yield style.dim(`... ${formatPlural(hidden, 'more extent')} (--all shows them)`);
    index++;
  }
}

function row(offset: string, length: string, kind: string, size: string): string {
  const [first, second, third] = WIDTHS;
  return `${offset.padStart(first)}  ${length.padStart(second)}  ${kind.padEnd(third)}  ${size.padStart(9)}`;
}
