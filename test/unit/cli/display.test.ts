import { describe, expect, it } from 'vitest';
import { formatDiskPicture, pictureCells, pictureWidth } from '#nbdelta/cli/display/disk-picture.js';
import { formatExtents } from '#nbdelta/cli/display/extent-table.js';
import { createStyle, visibleLength } from '#nbdelta/cli/display/style.js';
import { formatCard, formatTable } from '#nbdelta/cli/display/table.js';
import { type View, viewOf } from '#nbdelta/cli/display/view.js';

const PLAIN = createStyle(false);
const COLOURED = createStyle(true);
const view = (more: Partial<View> = {}): View => ({
  style: PLAIN,
  unicode: true,
  columns: 80,
  isTerminal: false,
  ...more,
});

describe('viewOf', () => {
  it.each([
    [{ LANG: 'en_US.UTF-8' }, true],
    [{ LANG: 'de_DE.utf8' }, true],
    [{ LANG: 'en_US.UTF-8', LC_ALL: 'C' }, false],
    [{ LC_CTYPE: 'C.UTF-8' }, true],
    [{ LANG: 'C' }, false],
    [{}, false],
  ])('%j: glyphs beyond ASCII %s', (environment, unicode) => {
    expect(viewOf({}, environment).unicode).toBe(unicode);
  });

  it.each([
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: '1' }, false],
    [true, { NO_COLOR: '' }, true],
    [true, { TERM: 'dumb' }, false],
  ])('terminal %s with %j: colours %s', (isTTY, environment, colours) => {
    expect(viewOf({ isTTY }, environment).style.red('x') !== 'x').toBe(colours);
  });
});

describe('formatTable', () => {
  const columns = [{ title: 'NAME' }, { title: 'SIZE', align: 'right' }, { title: 'NOTE' }] as const;

  it('aligns, leaves empty columns out, and ends no line with spaces', () => {
    const rows = [
      ['a', '1', ''],
      ['longer', '1000', ''],
    ];
    expect(formatTable(columns, rows, PLAIN)).toEqual(['NAME    SIZE', 'a          1', 'longer  1000']);
  });

  it('does not count colours', () => {
    const blank = [['a', '1', COLOURED.yellow('')]];
    expect(formatTable(columns, blank, PLAIN)[0], 'nothing in a colour is nothing').toBe('NAME  SIZE');
    const rows = [[COLOURED.red('a'), '1', 'x']];
    expect(visibleLength(formatTable(columns, rows, PLAIN)[1]!)).toBe('a        1  x'.length);
  });
});

describe('a table without room', () => {
  const columns = [{ title: 'NAME' }, { title: 'LESS', drop: 2 }, { title: 'LEAST', drop: 1 }, { title: '' }];
  const rows = [['name', 'less', 'least', 'a remark that may be as long as it likes to be']];
  const header = (room: number) => formatTable(columns, rows, PLAIN, room)[0];

  it('loses its least important columns, never the others', () => {
    expect(header(39)).toBe('NAME  LESS  LEAST');
    expect(header(38)).toBe('NAME  LESS');
    expect(header(10)).toBe('NAME');
    expect(formatTable(columns, rows, PLAIN, 10)[1]).toMatch(/^name {2}a remark/);
  });
});

describe('the size of a picture', () => {
  it.each([
    [40, 16],
    [60, 32],
    [80, 64],
    [100, 64],
    [200, 128],
    [10, 16],
  ])('in %i columns is %i cells a row', (columns, width) => {
    expect(pictureWidth(columns)).toBe(width);
    expect(pictureCells(2 ** 40, columns)).toBe(width * 4);
  });

  it('is nothing for a tiny disk', () => {
    expect([0, 1, 512, 1023].map(size => pictureCells(size, 80))).toEqual([0, 0, 0, 0]);
    expect(pictureCells(4096, 80)).toBe(8);
  });
});

describe('formatCard', () => {
  it('aligns labels, indents further lines, leaves out what is not there', () => {
    const card = [
      ['size', '1'],
      ['exports', ['a', 'b']],
      ['none', undefined],
      ['empty', []],
    ] as const;
    expect(formatCard(card, PLAIN)).toEqual(['size     1', 'exports  a', '         b']);
  });
});

describe('formatDiskPicture', () => {
  const cells = [
    { data: 1, zero: 0 },
    { data: 0.5, zero: 0.5 },
    { data: 0.0001, zero: 0 },
    { data: 0, zero: 0.01 },
    { data: 0, zero: 0 },
    { data: 0.75, zero: 0 },
  ];

  it('shows data by its share, zeroes apart from what did not change', () => {
    const picture = formatDiskPicture(cells, 6 * 1024, view(), 4);
    expect(picture.slice(0, 2)).toEqual(['       0 │█▒░·│', '4.00 KiB │ ▓  │']);
    expect(picture[2]).toContain('░▒▓█ data   · zero   blank unchanged   (a cell is 1.00 KiB)');
  });

  it('does with ASCII', () => {
    const picture = formatDiskPicture(cells, 6 * 1024, view({ unicode: false }), 4);
    expect(picture.join('\n')).toMatch(/^[\n\x20-\x7e]*$/);
    expect(picture[0]).toBe('       0 |#+-.|');
  });

  it('has the same shape in colours, and nothing for an empty disk', () => {
    const coloured = formatDiskPicture(cells, 6 * 1024, view({ style: COLOURED }), 4);
    const plain = formatDiskPicture(cells, 6 * 1024, view(), 4);
    expect(coloured.map(visibleLength)).toEqual(plain.map(line => line.length));
    expect(formatDiskPicture([], 0, view())).toEqual([]);
  });
});

describe('formatExtents', () => {
  const extents = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      offset: index * 4096,
      length: 4096,
      kind: 'data' as const,
    }));
  const lines = (count: number, all = false) => [...formatExtents(extents(count), count, all, PLAIN)];

  it('shows all of a short list', () => {
    expect(lines(40)).toHaveLength(41);
    expect(lines(0)).toHaveLength(1);
  });

  it('shows the first and the last 20 of a long one, and how many there are between', () => {
    const shown = lines(1000);
    expect(shown).toHaveLength(1 + 20 + 1 + 20);
    expect(shown[21]).toBe('... 960 more extents (--all shows them)');
    expect(shown[20]).toMatch(/^ +77,824 +4,096 {2}data +4\.00 KiB$/);
    expect(shown.at(-1)).toMatch(/^ +4,091,904 /);
    expect(lines(1000, true)).toHaveLength(1001);
  });
});
