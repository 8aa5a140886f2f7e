import { type Style, visibleLength } from './style.js';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** Lines of a table with aligned columns. Columns without any content are left out. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: Style,
): string[] {
  const used = columns.map((_, index) => rows.some(row => (row[index] ?? '') !== ''));
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...rows.map(row => visibleLength(row[index] ?? ''))),
  );
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, index) => padTo(cells[index] ?? '', widths[index]!, align))
      .filter((_, index) => used[index])
      .join('  ')
      .trimEnd();
  const header = style.dim(line(columns.map(column => column.title)));
  return [header, ...rows.map(line)];
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
