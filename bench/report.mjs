/** What the benchmarks print while they run. */

export function say(line = '') {
  process.stdout.write(`${line}\n`);
}

const seconds = value => (Number.isNaN(value) ? '-' : `${value.toFixed(2)} s`);
const mebibytes = value => (Number.isNaN(value) ? '-' : `${Math.round(value / 2 ** 20)} MiB`);
const percent = value => (Number.isNaN(value) ? '-' : `${Math.round(value * 100)} %`);

/** A figure with its unit: `1.23×`, `34 MiB`. */
export function figure(value, unit) {
  if (unit === '×') return `${value.toFixed(2)}×`;
  if (unit === 's') return seconds(value);
  return `${Math.round(value)} ${unit}`;
}

/** Columns of one contender: wall, CPU, peak memory, all cores' share of work, speed, how much faster ours is. */
export function cellsOf(contender, bytes) {
  const { wall, cpu, memory, busy, ratio } = contender;
  const speed = bytes > 0 ? `${Math.round(bytes / 2 ** 20 / wall)} MiB/s` : '-';
  const against = ratio
    ? `${ratio.median.toFixed(2)}× (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)})`
    : '';
  return [seconds(wall), seconds(cpu), mebibytes(memory), percent(busy), speed, against];
}

export const HEADS = ['wall', 'user+sys', 'peak', 'cores', 'data/wall', 'ours is faster'];
const WIDTHS = [10, 10, 10, 8, 13, 24];

const columns = cells => cells.map((cell, index) => cell.padStart(WIDTHS[index])).join('');

/** `at least 1.15×: 1.20×, met` */
export function sentenceOf({ value, unit, atLeast, atMost, met }) {
  const limit =
    atLeast === undefined ? `at most ${figure(atMost, unit)}` : `at least ${figure(atLeast, unit)}`;
  if (value === undefined) return `${limit}: cannot be judged here`;
  return `${limit}: ${figure(value, unit)}, ${met ? 'met' : 'NOT MET'}`;
}

/** Prints one comparison. */
export function reportContest({ name, bytes, contenders, targets }) {
  say(`\n${name.padEnd(44)}${columns(HEADS)}`);
  for (const contender of contenders) {
    if (contender.missing) say(`  left out: ${contender.name} (${contender.missing})`);
    else say(`  ${contender.name.padEnd(42)}${columns(cellsOf(contender, bytes))}`);
  }
  for (const target of targets) say(`  ${target.what}, ${sentenceOf(target)}`);
}
