import type { MeasuredStages } from '../../operations/bench/measure-stages.js';
import {
  byteCostOf,
  STAGE_THREADS,
  scaledRate,
  scalingLimit,
  stageRate,
} from '../../operations/bench/stage-costs.js';
import { formatBytes, formatDuration, formatPlural, formatRate } from './format.js';
import { formatCard, formatTable } from './table.js';
import type { View } from './view.js';

/** Machines that the figures are carried over to. */
const CORES = [1, 2, 4, 8, 16, 32];
/** Bits per second. */
const NETWORKS = [10e9, 25e9, 100e9];

/** Less says nothing of a disk. Bytes. */
const ENOUGH = 64 * 2 ** 20;

const LIMITS = {
  cores: 'cores',
  'event loop': 'the event loop, which is one thread',
  'codec threads': 'the codec, which has 16 threads at most',
  writing: 'one thread that writes at a time',
} as const;

const perSecond = (rate: number | undefined) => (rate === undefined ? '' : `${formatBytes(rate)}/s`);
const gbit = (bytesPerSecond: number) => `${((bytesPerSecond * 8) / 1e9).toFixed(1)} Gbit/s`;

/** What each stage costs. */
export function formatStages({ stages }: MeasuredStages, { style }: View): string[] {
  const columns = [
    { title: 'STAGE' },
    { title: 'THREAD' },
    { title: 'BYTES', align: 'right' },
    { title: 'CPU', align: 'right' },
    { title: 'PER CPU SECOND', align: 'right' },
  ] as const;
  const rows = stages.map(cost => [
    cost.stage,
    STAGE_THREADS[cost.stage],
    cost.bytes > 0 ? formatBytes(cost.bytes) : '',
    formatDuration(cost.cpuSeconds * 1000),
    perSecond(stageRate(cost)),
  ]);
  return formatTable(columns, rows, style);
}

/** What follows for a full backup: on this export, on larger machines, and on fast networks. */
export function formatScaling({ stages, read, connections }: MeasuredStages, { style }: View): string[] {
  const speed = `${formatRate(read.bytes, read.seconds * 1000)} (${formatBytes(read.bytes)}, ${formatPlural(connections, 'connection')})`;
  const cost = byteCostOf(stages);
  if (cost === undefined || read.bytes < ENOUGH) {
    const enough = `too little data for more: ${formatBytes(ENOUGH)} would do`;
    return [...formatCard([['read, by the clock', speed]], style), enough];
  }
  const loop = 1 / cost.loop;
  const most = scalingLimit(cost);
  const scaled = CORES.map(cores => scaledRate(cost, cores));
  const lines = formatCard(
    [
      ['read, by the clock', speed],
      ['a codec thread', perSecond(1 / cost.codec)],
      ['the event loop', `${perSecond(loop)}, ${gbit(loop)}`],
      ['at most', `${perSecond(most.rate)}, from ${most.cores} cores on: limited by ${LIMITS[most.limit]}`],
    ],
    style,
  );
  const table = formatTable(
    [
      { title: 'CORES', align: 'right' },
      { title: 'FULL BACKUP', align: 'right' },
      { title: 'NETWORK', align: 'right' },
      { title: 'LIMIT' },
    ],
    scaled.map(({ cores, rate, limit }) => [String(cores), perSecond(rate), gbit(rate), limit]),
    style,
  );
  const processes = NETWORKS.map(bits => `${bits / 1e9} Gbit/s: ${Math.ceil(bits / 8 / most.rate)}`).join(
    ', ',
  );
  return [
    ...lines,
    '',
    'Calculated for a server on another machine:',
    ...table,
    `processes that fill a network (one for each guest): ${processes}`,
  ];
}
