import type { PictureCell } from '../../operations/disk-picture.js';
import { formatBytes } from './format.js';
import type { View } from './view.js';

interface Glyphs {
  /** By share of data, lowest first. */
  readonly data: readonly string[];
  readonly zero: string;
  readonly wall: string;
}

const UNICODE: Glyphs = { data: ['░', '▒', '▓', '█'], zero: '·', wall: '│' };
const ASCII: Glyphs = { data: ['-', '+', '*', '#'], zero: '.', wall: '|' };

/** Powers of two: the cells of a disk of a round size have a round size too. */
const WIDTHS = [128, 64, 32, 16];
const ROWS = 4;
/** An offset, a space, and the walls. */
const BESIDE = 11;
/** No cell is smaller than a sector. Bytes. */
const SMALLEST_CELL = 512;

/** Cells in a row of a picture that `columns` characters have room for. */
export function pictureWidth(columns: number): number {
  return WIDTHS.find(width => width + BESIDE <= columns) ?? WIDTHS[WIDTHS.length - 1]!;
}

/** Cells of a picture of a disk of `size` bytes; 0 when it is too small for one. */
export function pictureCells(size: number, columns: number): number {
  const cells = Math.min(pictureWidth(columns) * ROWS, Math.floor(size / SMALLEST_CELL));
  return cells < 2 ? 0 : cells;
}

/** A picture of a disk: rows of cells with the offset that each row starts at, and a legend. */
export function formatDiskPicture(
  cells: readonly PictureCell[],
  size: number,
  view: View,
  columns = pictureWidth(view.columns),
): string[] {
  if (cells.length === 0) return [];
  const glyphs = view.unicode ? UNICODE : ASCII;
  const starts: string[] = [];
  const rows: string[] = [];
  for (let at = 0; at < cells.length; at += columns) {
    starts.push(at === 0 ? '0' : formatBytes((size / cells.length) * at));
    const row = cells.slice(at, at + columns);
    rows.push(formatRow(row, glyphs, view) + ' '.repeat(columns - row.length));
  }
  const width = Math.max(...starts.map(start => start.length));
  const wall = view.style.dim(glyphs.wall);
  return [
    ...rows.map((row, index) => `${view.style.dim(starts[index]!.padStart(width))} ${wall}${row}${wall}`),
    `${' '.repeat(width)}  ${legend(glyphs, size / cells.length, view)}`,
  ];
}

function formatRow(cells: readonly PictureCell[], glyphs: Glyphs, view: View): string {
  let row = '';
  for (let at = 0; at < cells.length; ) {
    const kind = kindOf(cells[at]!);
    let run = '';
    for (; at < cells.length && kindOf(cells[at]!) === kind; at++) run += glyphOf(cells[at]!, glyphs);
    row += kind === 'data' ? view.style.green(run) : kind === 'zero' ? view.style.cyan(run) : run;
  }
  return row;
}

/** Data wins over zero: a cell with a little of both holds something that was read. */
function kindOf(cell: PictureCell): 'data' | 'zero' | 'unchanged' {
  if (cell.data > 0) return 'data';
  return cell.zero > 0 ? 'zero' : 'unchanged';
}

function glyphOf(cell: PictureCell, glyphs: Glyphs): string {
  if (cell.data > 0) {
    const step = Math.ceil(cell.data * glyphs.data.length) - 1;
    return glyphs.data[Math.min(Math.max(step, 0), glyphs.data.length - 1)]!;
  }
  return cell.zero > 0 ? glyphs.zero : ' ';
}

function legend(glyphs: Glyphs, bytes: number, { style }: View): string {
  const data = `${style.green(glyphs.data.join(''))} data`;
  return `${data}   ${style.cyan(glyphs.zero)} zero   blank unchanged   ${style.dim(`(a cell is ${formatBytes(bytes)})`)}`;
}
