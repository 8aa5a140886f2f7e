import { type Style, visibleLength } from './style.js';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Left out where the table is too wide: 1 goes first, then 2, and so on; columns without it stay. */
  readonly drop?: number;
}

const GAP = 2;
/** A column without a title holds remarks of any length; they may wrap, and make no other column go. */
const REMARK_WIDTH = 20;

/**
 * Lines of a table with aligned columns. Columns without any content are left out.
 * @param room characters that a line may have.
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: Style,
  room = Number.POSITIVE_INFINITY,
): string[] {
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...rows.map(row => visibleLength(row[index] ?? ''))),
  );
  const filled = columns
    .map((_, index) => index)
    .filter(index => rows.some(row => (row[index] ?? '') !== ''));
  const shown = fitColumns(columns, filled, widths, room);
  const line = (cells: readonly string[]) =>
    shown
      .map(index => padTo(cells[index] ?? '', widths[index]!, columns[index]!.align))
      .join(' '.repeat(GAP))
      .trimEnd();
  const header = style.dim(line(columns.map(column => column.title)));
  return [header, ...rows.map(line)];
}

/** Indexes of the columns that are shown: as many of `filled` as there is room for. */
function fitColumns(
  columns: readonly Column[],
  filled: readonly number[],
  widths: readonly number[],
  room: number,
): readonly number[] {
  const widthOf = (index: number) =>
    columns[index]!.title === '' ? Math.min(widths[index]!, REMARK_WIDTH) : widths[index]!;
  let shown = filled;
  const order = filled
    .filter(index => columns[index]!.drop !== undefined)
    .sort((a, b) => columns[a]!.drop! - columns[b]!.drop!);
  for (const next of order) {
    const width = shown.reduce((sum, index) => sum + widthOf(index) + GAP, -GAP);
    if (width <= room) break;
    shown = shown.filter(index => index !== next);
  }
  return shown;
}

/** Lines `label  value`, labels aligned; undefined values are left out, further lines of a value indented. */
export function formatCard(
  entries: readonly (readonly [label: string, value: string | readonly string[] | undefined])[],
  style: Style,
): string[] {
  const shown = entries.filter(([, value]) => value !== undefined && value.length > 0);
  const width = Math.max(0, ...shown.map(([label]) => label.length));
  return shown.flatMap(([label, value]) => {
    const [first = '', ...more] = typeof value === 'string' ? [value] : (value ?? []);
    const indent = ' '.repeat(width + 2);
    return [`${style.dim(label.padEnd(width))}  ${first}`, ...more.map(text => indent + text)];
  });
}

function padTo(text: string, width: number, align: Column['align']): string {
  const space = ' '.repeat(Math.max(0, width - visibleLength(text)));
  return align === 'right' ? space + text : text + space;
}
