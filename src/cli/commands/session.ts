import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { printable } from '../../errors.js';
import type { EndedSession, Session, SessionListing } from '../../operations/guest/sessions.js';
import { withCommonOptions } from '../command-options.js';
import { formatBytes } from '../display/format.js';
import { formatTable } from '../display/table.js';
import { tableRoom, type View } from '../display/view.js';
import {
  type HypervisorOptions,
  hypervisorOptions,
  type JobOptions,
  jobOptions,
  SOURCE_HELP,
  withHypervisor,
  withJob,
} from '../hypervisor-options.js';
import { type CommonOptions, runCommand } from '../run-command.js';

interface BeginOptions extends CommonOptions, JobOptions {
  readonly since?: string;
  readonly sinceDefinition?: string;
  readonly checkpoint: boolean;
  readonly ttl?: number;
}

interface EndOptions extends CommonOptions, HypervisorOptions {
  readonly commit?: boolean;
  readonly abort?: boolean;
  readonly keepSince?: boolean;
}

/** Jobs that somebody else reads: `session begin`, `check`, `end`, `list`. */
export function addSessionCommand(program: Command): void {
  const session = program
    .command('session')
    .description('backup jobs for other programs: begun and ended here, read with any NBD client');
  addBegin(session);
  addCheck(session);
  addEnd(session);
  addList(session);
}

function addBegin(session: Command): void {
  const command = session
    .command('begin')
    .description('begin a job, and print where to read and what to ask for')
    .argument('<sources...>', `${SOURCE_HELP}; an image for each disk, DISK=image:PATH to name it`)
    .option('--since <checkpoint>', 'the checkpoint of an earlier session: its bitmap is published')
    .option('--since-definition <file>', 'that checkpoint as libvirt kept it, for a libvirt that forgot it')
    .option('--no-checkpoint', 'begin no new checkpoint')
    .option(
      '--ttl <time>',
      'abandoned after this, and ended by `recover`, e.g. 90m (default: 24h)',
      timeSpan,
    );
  withJob(command);
  const examples = [
    'session begin libvirt:web1 --json',
    'session begin libvirt:web1 --since nbdelta-… --json',
  ];
  withCommonOptions(command, examples).action((sources: string[], options: BeginOptions) =>
    runCommand(options, async context => {
      const { beginSession } = await import('../../operations/guest/sessions.js');
      const { splitDiskArgument } = await import('../arguments/disk-arguments.js');
      const begun = await beginSession({
        ...jobOptions(options),
        source: sources.map(text => {
          const { name: disk, uri } = splitDiskArgument(text);
          return disk === undefined ? uri : { disk, source: uri };
        }),
        ...{ since: options.since, checkpoint: options.checkpoint, ttlMs: options.ttl },
        sinceDefinition: await readText(options.sinceDefinition),
        signal: context.signal,
      });
      await context.print({ json: () => begun, text: view => formatSession(begun, view) });
      return undefined;
    }),
  );
}

function addCheck(session: Command): void {
  const command = session
    .command('check')
    .description('ask whether the job is still the same and healthy; exit code 57 when it is not')
    .argument('<token>', 'what `session begin` printed');
  withHypervisor(command);
  withCommonOptions(command, ['session check nbdelta-…']).action((token: string, options: EndOptions) =>
    runCommand(options, async context => {
      const { checkSession } = await import('../../operations/guest/sessions.js');
      const checked = await checkSession({ ...hypervisorOptions(options), token });
      await context.print({
        json: () => checked,
        text: () => [`${token}: the job is the same, and healthy`],
      });
      return undefined;
    }),
  );
}

function addEnd(session: Command): void {
  const command = session
    .command('end')
    .description('end a job: its data is safe (--commit), or not (--abort)')
    .argument('<token>', 'what `session begin` printed')
    .option('--commit', 'the data is safe: the checkpoint counts, the one before it goes')
    .option('--abort', 'it is not: the checkpoint goes, the one before it still counts')
    .option('--keep-since', 'with --commit: keep the checkpoint before as well');
  withHypervisor(command);
  const examples = ['session end nbdelta-… --commit', 'session end nbdelta-… --abort'];
  withCommonOptions(command, examples).action((token: string, options: EndOptions) =>
    runCommand(options, async context => {
      const outcome = outcomeOf(options);
      const { endSession } = await import('../../operations/guest/sessions.js');
      const { keepSince } = options;
      const ended = await endSession({ ...hypervisorOptions(options), token, outcome, keepSince });
      await context.print({ json: () => ended, text: view => formatEnded(ended, view) });
      return undefined;
    }),
  );
}

function addList(session: Command): void {
  const command = session.command('list').description('sessions that the state folder remembers');
  command.option('--state-dir <folder>', 'where they are remembered (default: nbdelta in $XDG_STATE_HOME)');
  withCommonOptions(command, ['session list --json']).action(
    (options: CommonOptions & { readonly stateDir?: string }) =>
      runCommand(options, async context => {
        const { listSessions } = await import('../../operations/guest/sessions.js');
        const listing = await listSessions({ stateDir: options.stateDir });
        await context.print({ json: () => listing, text: view => formatListing(listing, view) });
        return undefined;
      }),
  );
}

function outcomeOf({ commit, abort }: EndOptions): 'commit' | 'abort' {
  if (commit === true && abort !== true) return 'commit';
  if (abort === true && commit !== true) return 'abort';
  throw new InvalidArgumentError('say --commit or --abort');
}

async function readText(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const { readFile } = await import('node:fs/promises');
  return await readFile(file, 'utf8');
}

const SPAN = /^(\d{1,6})(s|m|h|d)$/;
const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function timeSpan(text: string): number {
  const [, digits, unit] = SPAN.exec(text) ?? [];
  if (digits !== undefined && Number(digits) > 0) return Number(digits) * UNITS[unit!]!;
  throw new InvalidArgumentError('expected a time such as 30m, 12h or 2d');
}

function* formatSession(session: Session, view: View): Generator<string> {
  const { style } = view;
  yield `session ${style.bold(session.token)} of ${printable(session.guest.name)}, until ${session.expires}`;
  if (session.checkpoint !== null) yield `  checkpoint: ${session.checkpoint}`;
  if (session.since !== null) yield `  changes since: ${session.since}`;
  const columns = [
    { title: 'DISK' },
    { title: 'SIZE', align: 'right' },
    { title: 'READ FROM' },
    { title: 'CONTEXT' },
  ] as const;
  const rows = session.disks.map(({ name, size, uri, context }) => [
    style.bold(name),
    formatBytes(size),
    printable(uri),
    printable(context ?? '(read everything)'),
  ]);
  yield* formatTable(columns, rows, style, tableRoom(view));
  for (const { name, reason } of session.disks) {
    if (reason !== null) yield `${name}: ${printable(reason.text)}`;
  }
  for (const { text } of session.warnings) yield style.yellow(`warning: ${printable(text)}`);
}

function* formatEnded(
  { token, outcome, checkpoint, actions }: EndedSession,
  { style }: View,
): Generator<string> {
  const counts = checkpoint === null ? '' : `; the next one is --since ${checkpoint}`;
  yield `${token}: ${outcome === 'commit' ? 'committed' : 'aborted'}${counts}`;
  for (const { what, text } of actions) {
    if (what === 'left') yield style.yellow(`warning: ${printable(text)}`);
  }
}

function* formatListing({ sessions, unreadable }: SessionListing, view: View): Generator<string> {
  if (sessions.length === 0 && unreadable.length === 0) yield 'no sessions';
  for (const { token, source, expires, expired } of sessions) {
    const until = expired ? view.style.yellow(`expired ${expires}`) : `until ${expires}`;
    yield `${token}  ${printable(source.join(' '))}  ${until}`;
  }
  for (const { run, why } of unreadable) yield view.style.yellow(`${run}: unreadable: ${printable(why)}`);
}
