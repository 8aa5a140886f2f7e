/** The plot of a run: how many times faster ours is than each peer, with the range over the rounds. SVG. */

const WIDTH = { label: 330, bars: 480, value: 170 };
const ROW = 20;
const TITLE = 26;
/** Where the axis has numbers. */
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50];
const COLOURS = { faster: '#2a7f62', slower: '#b5533c', limit: '#8a8a8a' };

const escapeXml = text => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Ratios from a tenth to beyond ten on a logarithmic axis; 1 in its place. */
function openScale(ratios) {
  const low = Math.min(0.5, ...ratios) * 0.95;
  const high = Math.max(2, ...ratios) * 1.05;
  const width = Math.log(high / low);
  return ratio => WIDTH.label + (Math.log(ratio / low) / width) * WIDTH.bars;
}

function drawRow({ name, ratio }, y, x) {
  const [from, to] = [x(1), x(ratio.median)].sort((one, other) => one - other);
  const middle = y + ROW / 2;
  const fill = COLOURS[name.startsWith('the limit') ? 'limit' : ratio.median >= 1 ? 'faster' : 'slower'];
  const value = `${ratio.median.toFixed(2)}× (${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)})`;
  return [
    `<text x="${WIDTH.label - 10}" y="${middle + 4}" text-anchor="end">${escapeXml(name)}</text>`,
    `<rect x="${from.toFixed(1)}" y="${y + 4}" width="${(to - from).toFixed(1)}" height="${ROW - 8}" fill="${fill}"/>`,
    `<line x1="${x(ratio.low).toFixed(1)}" x2="${x(ratio.high).toFixed(1)}" y1="${middle}" y2="${middle}" stroke="#222" stroke-width="1.5"/>`,
    `<text x="${WIDTH.label + WIDTH.bars + 10}" y="${middle + 4}">${value}</text>`,
  ];
}

function drawAxis(low, high, [top, bottom], x) {
  const ticks = TICKS.filter(tick => tick >= low && tick <= high);
  return ticks.flatMap(tick => [
    `<line x1="${x(tick).toFixed(1)}" x2="${x(tick).toFixed(1)}" y1="${top}" y2="${bottom}" stroke="${tick === 1 ? '#666' : '#ddd'}"/>`,
    `<text x="${x(tick).toFixed(1)}" y="${top - 5}" text-anchor="middle" fill="#555">${tick}×</text>`,
  ]);
}

/** @param results comparisons as `contest` returns them. @param machine lines that describe it. */
export function plotResults(results, machine) {
  const groups = results
    .map(({ name, contenders }) => ({ name, peers: contenders.filter(contender => contender.ratio) }))
    .filter(({ peers }) => peers.length > 0);
  const ratios = groups.flatMap(({ peers }) => peers.flatMap(({ ratio }) => [ratio.low, ratio.high]));
  const x = openScale(ratios);
  const width = WIDTH.label + WIDTH.bars + WIDTH.value;
  const top = 50 + 16 * machine.length;
  const body = [];
  let y = top;
  for (const { name, peers } of groups) {
    body.push(`<text x="10" y="${y + 18}" font-weight="bold">${escapeXml(name)}</text>`);
    y += TITLE;
    for (const each of peers) {
      body.push(...drawRow(each, y, x));
      y += ROW;
    }
  }
  const about = machine.map(
    (line, index) =>
      `<text x="10" y="${38 + 16 * index}" fill="#555" font-size="11">${escapeXml(line)}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y + 12}" font-family="sans-serif" font-size="12">`,
    '<title>How many times faster nbdelta is than each peer</title>',
    `<rect width="${width}" height="${y + 12}" fill="#fff"/>`,
    '<text x="10" y="20" font-size="14">How many times faster nbdelta is: median and range of the rounds. Right of 1×: faster. Grey: what no program beats</text>',
    ...about,
    ...drawAxis(Math.min(1, ...ratios), Math.max(1, ...ratios), [top, y], x),
    ...body,
    '</svg>',
    '',
  ].join('\n');
}
