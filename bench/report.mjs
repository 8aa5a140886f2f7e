/** What the benchmarks print. */

export function say(line = '') {
  process.stdout.write(`${line}\n`);
}

const seconds = value => (Number.isNaN(value) ? '-' : `${value.toFixed(2)} s`);
const mebibytes = value => (Number.isNaN(value) ? '-' : `${Math.round(value / 2 ** 20)} MiB`);

function row(label, sample, bytes) {
  const speed = `${Math.round(bytes / 2 ** 20 / sample.wall)} MiB/s`;
  const cells = [seconds(sample.wall), seconds(sample.cpu), mebibytes(sample.memory), speed];
  return `  ${label.padEnd(46)}${cells.map(cell => cell.padStart(12)).join('')}`;
}

function expectation(label, value, met) {
  say(`  ${label.padEnd(46)} ${value}: ${met ? 'met' : 'NOT MET'}`);
}

/**
 * One comparison. `bytes` is the data that both move; `expect` has the least `ratio` (missing: none was set) and
 * the most `memory` of ours.
 */
export function reportComparison({ name, bytes, labels, expect }, result) {
  const heads = ['wall', 'user+sys', 'peak', 'data/wall'].map(head => head.padStart(12)).join('');
  say(`\n${name.padEnd(48)}${heads}`);
  say(row(labels.ours, result.ours, bytes));
  if (result.theirs) {
    say(row(labels.theirs, result.theirs, bytes));
    const range = `${result.ratio.toFixed(2)}× (${result.low.toFixed(2)} to ${result.high.toFixed(2)})`;
    if (expect.ratio === undefined) say(`  ${'as fast as the other'.padEnd(46)} ${range}`);
    else expectation(`as fast as the other, at least ${expect.ratio}×`, range, result.ratio >= expect.ratio);
  } else {
    say(`  ${labels.theirs}: missing on this machine, nothing to compare with`);
  }
  if (Number.isNaN(result.ours.memory)) return;
  const limit = expect.memory;
  expectation(
    `peak memory, at most ${mebibytes(limit)}`,
    mebibytes(result.ours.memory),
    result.ours.memory <= limit,
  );
}
