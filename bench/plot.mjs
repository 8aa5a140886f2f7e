/** The plot of a run: how many times faster ours is than each peer, with the range over the rounds. SVG. */

const WIDTH = { label: 330, bars: 480, value: 170 };
const ROW = 20;
const TITLE = 26;

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
  const fill = ratio.median >= 1 ? '#2a7f62' : '#b5533c';
  const value = `${ratio.median.toFixed(2)}× (${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)})`;
  return [
    `<text x="${WIDTH.label - 10}" y="${middle + 4}" text-anchor="end">${escapeXml(name)}</text>`,
    `<rect x="${from.toFixed(1)}" y="${y + 4}" width="${(to - from).toFixed(1)}" height="${ROW - 8}" fill="${fill}"/>`,
    `<line x1="${x(ratio.low).toFixed(1)}" x2="${x(ratio.high).toFixed(1)}" y1="${middle}" y2="${middle}" stroke="#222" stroke-width="1.5"/>`,
    `<text x="${WIDTH.label + WIDTH.bars + 10}" y="${middle + 4}">${value}</text>`,
  ];
}

/** @param results comparisons as `contest` returns them. */
export function plotResults(results, machine) {
  const groups = results
    .map(({ name, contenders }) => ({ name, peers: contenders.filter(contender => contender.ratio) }))
    .filter(({ peers }) => peers.length > 0);
  const x = openScale(groups.flatMap(({ peers }) => peers.flatMap(({ ratio }) => [ratio.low, ratio.high])));
  const width = WIDTH.label + WIDTH.bars + WIDTH.value;
  const body = [];
  let y = 50;
  for (const { name, peers } of groups) {
    body.push(`<text x="10" y="${y + 18}" font-weight="bold">${escapeXml(name)}</text>`);
    y += TITLE;
    for (const each of peers) {
      body.push(...drawRow(each, y, x));
      y += ROW;
    }
  }
  const axis = `<line x1="${x(1).toFixed(1)}" x2="${x(1).toFixed(1)}" y1="44" y2="${y}" stroke="#888" stroke-dasharray="3 3"/>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y + 12}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${y + 12}" fill="#fff"/>`,
    `<text x="10" y="20" font-size="14">How many times faster nbdelta is: median and range (right of the line: faster)</text>`,
    `<text x="10" y="38" fill="#555">${escapeXml(machine)}</text>`,
    axis,
    ...body,
    '</svg>',
    '',
  ].join('\n');
}
