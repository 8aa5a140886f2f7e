import type { Command } from 'commander';
import { errorLine, printable, UsageError } from '../../errors.js';
import type { PruneResult } from '../../operations/prune.js';
import type { PruneFailure } from '../../operations/prune-all.js';
import type { RetentionPolicy } from '../../operations/prune-options.js';
import type { StepNotice } from '../../operations/prune-preview.js';
import { keepPolicyOf, withKeepPolicy } from '../arguments/keep-policy.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes, formatPlural } from '../display/format.js';
import { formatPrunePlan } from '../display/prune-plan.js';
import type { View } from '../display/view.js';
import { EXIT_CODES } from '../exit-codes.js';
import { type CommandContext, type CommonOptions, runCommand } from '../run-command.js';

interface Options extends CommonOptions, RetentionPolicy {
  readonly repo: string;
  readonly all?: boolean;
  readonly dryRun?: boolean;
}

const EXAMPLES = [
  'prune web1 --repo /backup --keep-last 7 --dry-run',
  'prune web1 --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly 10',
  'prune --all --keep-within 30d --keep-within-monthly 2y',
];

export function addPruneCommand(program: Command): void {
  const command = program
    .command('prune')
    .description(
      'remove the points that a policy does not keep; what a kept one needs is merged into it first. A point is ' +
        'kept when any option wants it; hours, days and weeks (from Monday) are those of UTC',
    )
    .argument('[machine]', 'whose points');
  withRepository(command).option('--all', 'every machine of the repository, each by itself');
  withKeepPolicy(command).option('--dry-run', 'print the same plan, and change nothing');
  withCommonOptions(command, EXAMPLES).action((machine: string | undefined, options: Options) =>
    runCommand(options, context => runPrune(machine, options, context)),
  );
}

async function runPrune(machine: string | undefined, options: Options, context: CommandContext) {
  if ((machine === undefined) === (options.all !== true)) {
    throw new UsageError('name one machine, or say --all', { hint: 'see: nbdelta prune --help' });
  }
  const { signal, onProgress } = context;
  context.whenStopped('every point that is to stay can be read, and the next prune does the rest');
  const work = {
    ...{
      repository: options.repo,
      policy: keepPolicyOf(options),
      dryRun: options.dryRun,
      signal,
      onProgress,
    },
    onPlan: (plan: Parameters<typeof formatPrunePlan>[0]) =>
      context.tell(view => formatPrunePlan(plan, view)),
    onStep: (notice: StepNotice) => context.note(describeStep(notice)),
  };
  if (machine === undefined) return await pruneEvery(work, context);
  const { prune } = await import('../../operations/prune.js');
  const result = await prune({ ...work, machine });
  await context.print({ json: () => result, text: view => formatOutcome(result, view) });
  return undefined;
}

/** @returns the exit code of the first machine that could not be pruned. */
async function pruneEvery(
  work: Omit<Parameters<typeof import('../../operations/prune-all.js').pruneAll>[0], 'onFailure'>,
  context: CommandContext,
): Promise<number | undefined> {
  const { pruneAll } = await import('../../operations/prune-all.js');
  const { machines, failures } = await pruneAll(work);
  const failed = failures.map(({ machine, error: { code, hint } }, index) => ({
    ...{ machine, code, message: errorLine(failures[index]!.error), hint: hint ?? null },
  }));
  await context.print({
    json: () => ({ machines, failures: failed }),
    text: view => formatAll(machines, failures, view),
  });
  const first = failures[0];
  return first === undefined ? undefined : EXIT_CODES[first.error.code];
}

function describeStep({ step, index, count }: StepNotice): string {
  const at = `step ${index + 1} of ${count}:`;
  if (step.kind === 'remove') return `${at} removing ${formatPlural(step.points.length, 'point')}`;
  const kept = step.points[step.points.length - 1];
  return `${at} merging ${formatPlural(step.points.length - 1, 'point')} into ${kept}`;
}

function* formatOutcome(result: PruneResult, { style }: View): Generator<string> {
  const { dryRun, merged, held, steps, freedBytes } = result;
  if (dryRun) {
    yield style.yellow('dry run: nothing was changed');
    return;
  }
  for (const { points, into } of merged) yield `${points[points.length - 1]} is ${into} now`;
  for (const { id } of held) yield style.yellow(`${id} is still being read: a later prune removes its files`);
  if (steps.length > 0) yield style.green(`done, ${describeFreed(freedBytes)}`);
}

function describeFreed(bytes: number): string {
  return bytes >= 0 ? `${formatBytes(bytes)} freed` : `${formatBytes(-bytes)} more in use`;
}

function* formatAll(
  machines: readonly PruneResult[],
  failures: readonly PruneFailure[],
  view: View,
): Generator<string> {
  for (const result of machines) {
    for (const line of formatOutcome(result, view)) yield `${view.style.bold(result.machine)}: ${line}`;
  }
  for (const { machine, error } of failures) {
    yield `${view.style.red('not pruned')}  ${printable(machine)}: ${errorLine(error)}`;
  }
  if (machines.length + failures.length === 0) yield 'no machines yet';
}
