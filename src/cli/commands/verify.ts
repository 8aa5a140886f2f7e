import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { Problem, VerifyResult } from '../../operations/verify.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes, formatDuration, formatPlural, formatRate } from '../display/format.js';
import type { View } from '../display/view.js';
import { withoutSubject } from '../display/without-subject.js';
import { EXIT_CODES } from '../exit-codes.js';
import { type CommonOptions, runCommand } from '../run-command.js';

interface Options extends CommonOptions {
  readonly repo: string;
}

export function addVerifyCommand(program: Command): void {
  const command = program
    .command('verify')
    .description('check every digest of a repository, a machine, or a point and what it builds on')
    .argument('[point]', 'MACHINE, or MACHINE@POINT; everything when left out');
  withRepository(command);
  const examples = ['verify --repo /backup', 'verify web1', 'verify web1@latest --json'];
  withCommonOptions(command, examples).action((point: string | undefined, options: Options) =>
    runCommand(options, async context => {
      const { verify } = await import('../../operations/verify.js');
      const result = await verify({
        repository: options.repo,
        point,
        signal: context.signal,
        onProgress: context.onProgress,
      });
      await context.print({ json: () => result, text: view => formatVerify(result, view) });
      return result.ok ? undefined : EXIT_CODES.DATA_DAMAGED;
    }),
  );
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
  const size = `${formatBytes(bytes)} in ${formatDuration(elapsedMs)}, ${formatRate(bytes, elapsedMs)}`;
  yield `checked ${counts.join(', ')}: ${size}`;
  yield result.ok
    ? style.green('all is well')
    : style.red(`${formatPlural(result.problems.length, 'problem')} found`);
}

/** A finding on one line, its place told once. */
export function formatProblem({ machine, point, disk, code, message }: Problem, { style }: View): string {
  const at = `${machine}@${point}`;
  const said = withoutSubject(message, [`point ${at}, disk ${disk}`, `point ${at}`, at, `disk ${disk}`]);
  const where = `${machine}${point === null ? '' : `@${point}`}${disk === null ? '' : ` ${disk}`}`;
  return `${style.red(code)}  ${printable(where)}: ${printable(said)}`;
}
