import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { DiskComparison, LiveDisk, Problem, VerifyResult } from '../../operations/verify/verify.js';
import { splitDiskArgument } from '../arguments/disk-arguments.js';
import { shareOf, wholeNumber } from '../arguments/numbers.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatExtents } from '../display/extent-table.js';
import { formatBytes, formatDuration, formatPlural, formatRate } from '../display/format.js';
import type { View } from '../display/view.js';
import { withoutSubject } from '../display/without-subject.js';
import { EXIT_CODES } from '../exit-codes.js';
import { type CommonOptions, runCommand } from '../run-command.js';

/** Differing ranges that are printed. */
const SHOWN = 20;

interface Options extends CommonOptions {
  readonly repo: string;
  readonly sample?: number;
  readonly seed?: number;
  readonly against?: readonly LiveDisk[];
}

export function addVerifyCommand(program: Command): void {
  const command = program
    .command('verify')
    .description('check every digest of a repository, a machine, or a point and what it builds on')
    .argument('[point]', 'MACHINE, or MACHINE@POINT; everything when left out')
    .option('--sample <share>', 'check only this share of the frames, chosen at random, e.g. 5%', shareOf)
    .option('--seed <number>', 'with --sample: chooses the same frames again', wholeNumber(0))
    .option(
      '--against <disk=uri>',
      'compare the point with a live export, byte for byte (repeatable; DISK= may go with one disk)',
      (text: string, before: readonly LiveDisk[] = []) => [...before, liveDisk(text)],
    );
  withRepository(command);
  const examples = [
    'verify --repo /backup',
    'verify web1 --sample 5%',
    'verify web1@latest --json',
    'verify web1 --against vda=nbd://host/vda        # cmp for backups',
  ];
  withCommonOptions(command, examples).action((point: string | undefined, options: Options) =>
    runCommand(options, async context => {
      const { verify } = await import('../../operations/verify/verify.js');
      const result = await verify({
        repository: options.repo,
        point,
        ...{ sample: options.sample, seed: options.seed, against: options.against },
        signal: context.signal,
        onProgress: context.onProgress,
      });
      await context.print({ json: () => result, text: view => formatVerify(result, view) });
      return exitCodeOf(result);
    }),
  );
}

function exitCodeOf({ ok, problems }: VerifyResult): number | undefined {
  if (ok) return undefined;
  const onlyDiffers = problems.every(({ code }) => code === 'DATA_DIFFERS');
  return onlyDiffers ? EXIT_CODES.DATA_DIFFERS : EXIT_CODES.DATA_DAMAGED;
}

function liveDisk(text: string): LiveDisk {
  const { name, uri } = splitDiskArgument(text);
  return name === undefined ? { uri } : { disk: name, uri };
}

function* formatVerify(result: VerifyResult, view: View): Generator<string> {
  const { style } = view;
  for (const problem of result.problems) yield formatProblem(problem, view);
  for (const { machine, point, disk } of result.missing) {
    yield style.yellow(
      `note: ${printable(`${machine}@${point}`)} is partial: disk ${printable(disk)} is not in it`,
    );
  }
  const { points, archives, frames, bytes, elapsedMs } = result;
  const counts = [
    formatPlural(points, 'point'),
    formatPlural(archives, 'archive'),
    formatPlural(frames, 'frame'),
  ];
  for (const comparison of result.comparisons) yield* formatComparison(comparison, view);
  const size = `${formatBytes(bytes)} in ${formatDuration(elapsedMs)}, ${formatRate(bytes, elapsedMs)}`;
  if (result.unrecorded !== null) yield `note: the verdict was not recorded: ${printable(result.unrecorded)}`;
  if (result.seed !== null) yield `a sample, chosen by --seed ${result.seed}`;
  yield `checked ${counts.join(', ')}: ${size}`;
  yield result.ok
    ? style.green('all is well')
    : style.red(`${formatPlural(result.problems.length, 'problem')} found`);
}

function* formatComparison(
  { disk, uri, compared, differing, first, ranges }: DiskComparison,
  { style }: View,
) {
  yield `${style.bold(disk)} against ${printable(uri)}: ${formatBytes(compared)} compared, ${formatBytes(differing)} differ`;
  if (ranges > 0)
    yield* formatExtents(first.slice(0, SHOWN).map(asExtent), Math.min(ranges, SHOWN), true, style);
  if (ranges > SHOWN) yield `... ${formatPlural(ranges - SHOWN, 'more range')} (--json lists the first 1000)`;
}

function asExtent({ offset, length }: DiskComparison['first'][number]) {
  return { offset, length, kind: 'data' as const };
}

/** A finding on one line, its place told once. */
export function formatProblem({ machine, point, disk, code, message }: Problem, { style }: View): string {
  const at = `${machine}@${point}`;
  const said = withoutSubject(message, [`point ${at}, disk ${disk}`, `point ${at}`, at, `disk ${disk}`]);
  const where = `${machine}${point === null ? '' : `@${point}`}${disk === null ? '' : ` ${disk}`}`;
  return `${style.red(code)}  ${printable(where)}: ${printable(said)}`;
}
