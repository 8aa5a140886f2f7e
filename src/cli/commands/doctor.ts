import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { Diagnosis } from '../../operations/guest/doctor.js';
import { splitDiskArgument } from '../arguments/disk-arguments.js';
import { withCommonOptions } from '../command-options.js';
import type { View } from '../display/view.js';
import { EXIT_CODES } from '../exit-codes.js';
import { type JobOptions, jobOptions, SOURCE_HELP, withJob } from '../hypervisor-options.js';
import { type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'doctor libvirt:web1',
  'doctor libvirt:web1 --scratch /var/scratch --json',
  'doctor image:/var/lib/libvirt/images/web1.qcow2',
  'doctor nbd://host/vda',
];

type Options = CommonOptions & JobOptions;
type Finding = Diagnosis['findings'][number];

export function addDoctorCommand(program: Command): void {
  const command = program
    .command('doctor')
    .description('say whether and how a guest can be backed up, and what to do about what is in the way')
    .argument('<source...>', `${SOURCE_HELP}; or an NBD URI`);
  withJob(command);
  withCommonOptions(command, EXAMPLES).action((sources: string[], options: Options) =>
    runCommand(options, async context => {
      const { doctor } = await import('../../operations/guest/doctor.js');
      const source = sources.map(text => {
        const { name: disk, uri } = splitDiskArgument(text);
        return disk === undefined ? uri : { disk, source: uri };
      });
      const diagnosis = await doctor({ ...jobOptions(options), source, signal: context.signal });
      await context.print({ json: () => diagnosis, text: view => formatDiagnosis(diagnosis, view) });
      return diagnosis.verdict.full ? undefined : EXIT_CODES.UNFIT;
    }),
  );
}

function* formatDiagnosis(diagnosis: Diagnosis, view: View): Generator<string> {
  const { style } = view;
  yield style.bold(formatTitle(diagnosis));
  for (const finding of diagnosis.findings) yield* formatFinding(finding, view);
  yield '';
  const { full, incremental, text } = diagnosis.verdict;
  const paint = !full ? style.red : incremental ? style.green : style.yellow;
  yield paint(printable(text));
}

function formatTitle({ source, guest }: Diagnosis): string {
  if (guest === null) return source.map(printable).join(' ');
  const versions = Object.entries(guest.versions).map(([name, version]) => `${name} ${version}`);
  return printable([guest.name, guest.state, ...versions].join(', '));
}

/** The longest of the statuses: texts begin in one column. */
const STATUS_WIDTH = 'problem'.length;

function* formatFinding({ status, text, fix, disk }: Finding, { style }: View): Generator<string> {
  const paint = { ok: style.green, info: style.dim, warning: style.yellow, problem: style.red }[status];
  const subject = disk === undefined ? '' : `${disk}: `;
  yield `${paint(status.padEnd(STATUS_WIDTH))}  ${printable(subject + text)}`;
  if (fix !== undefined) yield `${' '.repeat(STATUS_WIDTH + 2)}${style.dim('fix:')} ${printable(fix)}`;
}
