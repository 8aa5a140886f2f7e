import { type Command, Option } from 'commander';
import { UsageError } from '../../errors.js';
import type { BackupResult } from '../../operations/backup.js';
import type { BackupOptions } from '../../operations/backup-options.js';
import { readDiskArguments, splitDiskArgument } from '../arguments/disk-arguments.js';
import { secondsAsMs, sizeInBytes, wholeNumber } from '../arguments/numbers.js';
import { withCommonOptions, withRepository } from '../command-options.js';
import { formatBackup, missingBitmaps } from '../display/backup-result.js';
import { EXIT_CODES } from '../exit-codes.js';
import { type JobOptions, jobOptions, SOURCE_HELP, withJob } from '../hypervisor-options.js';
import { type CommandContext, type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'backup libvirt:web1 --repo /backup',
  'backup libvirt:web1 --repo /backup --quiesce --scratch /fast/scratch',
  'backup qmp:/run/qemu/web1.qmp --repo /backup --name web1',
  'backup libvirt:web1 --repo /backup --rescan                           # bitmaps in doubt',
  'backup vda=image:/images/web1.qcow2 --repo /backup --name web1        # the guest is off',
  "backup vda=nbd://host/vda --repo /backup --name web1 --since monday   # somebody else's job",
];

interface Options extends CommonOptions, JobOptions {
  readonly repo: string;
  readonly name?: string;
  readonly confirm?: string;
  readonly preHook?: string;
  readonly postHook?: string;
  readonly bitmap?: string;
  readonly level: NonNullable<BackupOptions['level']>;
  readonly rescan?: boolean;
  readonly since?: string;
  readonly checkpoint?: string;
  readonly machineId?: string;
  readonly fullEvery?: number;
  readonly maxChain?: number;
  readonly compression?: string;
  readonly allowPartial?: boolean;
  readonly threads?: number;
  readonly connections?: number;
  readonly requestSize?: number;
  readonly readAhead?: number;
  readonly rate?: number;
  readonly timeout?: number;
  readonly retries?: number;
  readonly frameSize?: number;
}

export function addBackupCommand(program: Command): void {
  const command = program
    .command('backup')
    .description('back up the disks of one guest as one recovery point')
    .argument(
      '<sources...>',
      `${SOURCE_HELP}; or NBD URIs of a job that somebody else drives. DISK=URI and DISK=image:PATH name a disk; a ` +
        'bare NBD URI is named as its export, or disk0, disk1 … by position where that is empty or unfit',
    )
    .option(
      '--name <machine>',
      "name of the guest in the repository (default: the hypervisor's; NBD URIs need it)",
    );
  withRepository(command);
  addChainOptions(command);
  withJob(command);
  addHookOptions(command);
  addTransferOptions(command);
  withCommonOptions(command, EXAMPLES).action((sources: string[], options: Options) =>
    runCommand(options, async context => {
      context.whenStopped('nothing was stored');
      const result = (await isNbd(sources))
        ? await backUpExports(sources, options, context)
        : await backUpGuest(sources, options, context);
      await context.print({ json: () => result, text: view => formatBackup(result, view) });
      if (options.bitmap !== undefined) for (const text of missingBitmaps(result)) context.note(text);
      return result.point.partial ? EXIT_CODES.PARTIAL : undefined;
    }),
  );
}

async function isNbd(sources: readonly string[]): Promise<boolean> {
  const { parseSource } = await import('../../operations/guest/guest-backup-options.js');
  return sources.every(text => parseSource(splitDiskArgument(text).uri).kind === 'nbd');
}

async function backUpExports(
  sources: readonly string[],
  options: Options,
  context: CommandContext,
): Promise<BackupResult> {
  refuseJobOptions(options);
  refuseBitmapOfRescan(options);
  const { name, confirm } = options;
  if (name === undefined) throw new UsageError('an NBD URI does not say which guest it is of: give --name');
  const { backup } = await import('../../operations/backup.js');
  const { exportNameOf } = await import('../../operations/export-name.js');
  const { runConfirmCommand } = await import('../../operations/guest/hooks.js');
  const { signal } = context;
  return await backup({
    ...backupOptions(options),
    machine: name,
    disks: readDiskArguments(sources, exportNameOf, options.bitmap),
    since: options.since,
    checkpoint: options.checkpoint,
    ...(confirm !== undefined && { confirm: () => runConfirmCommand(confirm, signal) }),
    signal,
    onProgress: context.onProgress,
  });
}

async function backUpGuest(
  sources: readonly string[],
  options: Options,
  context: CommandContext,
): Promise<BackupResult> {
  refuseExportOptions(options);
  const { name, confirm, preHook, postHook } = options;
  const { backupGuest } = await import('../../operations/guest/guest-backup.js');
  const { runConfirmCommand } = await import('../../operations/guest/hooks.js');
  const { signal } = context;
  return await backupGuest({
    ...backupOptions(options),
    ...jobOptions(options),
    source: sources.map(text => {
      const { name: disk, uri } = splitDiskArgument(text);
      return disk === undefined ? uri : { disk, source: uri };
    }),
    ...{ machine: name, preHook, postHook, signal },
    ...(confirm !== undefined && { confirm: () => runConfirmCommand(confirm, signal) }),
    onProgress: context.onProgress,
    onRecovered: ({ text }) => context.note(`left by a run that died: ${text}`),
    onLeft: ({ text }) => context.note(`left behind: ${text}`),
  });
}

/** Each kind of source has options that mean nothing to the other: to pass over one would deceive. */
function refuseExportOptions(options: Options): void {
  for (const key of ['bitmap', 'since', 'checkpoint'] as const) {
    if (options[key] !== undefined) {
      throw new UsageError(`--${key} is for NBD URIs: here the front-end knows it`, { hint: 'leave it out' });
    }
  }
}

function refuseBitmapOfRescan({ rescan, bitmap }: Options): void {
  if (rescan !== true || bitmap === undefined) return;
  throw new UsageError('--rescan reads no bitmap', { hint: 'leave --bitmap out' });
}

const JOB_ONLY = {
  ...{ connect: '--connect', scratch: '--scratch', scratchReserve: '--scratch-reserve', disk: '--disk' },
  ...{
    socketDir: '--socket-dir',
    listen: '--listen',
    tlsCertificates: '--tls-certificates',
    secret: '--secret',
  },
  ...{ exclude: '--exclude', quiesce: '--quiesce', mountpoint: '--mountpoint' },
  ...{ imageFormat: '--image-format', allowIoThreads: '--allow-io-threads', stateDir: '--state-dir' },
  ...{ preHook: '--pre-hook', postHook: '--post-hook' },
} as const;

function refuseJobOptions(options: Options): void {
  for (const [key, flag] of Object.entries(JOB_ONLY)) {
    if (options[key as keyof typeof JOB_ONLY] === undefined) continue;
    throw new UsageError(`${flag} is for a job that nbdelta drives, not for an NBD URI`, {
      hint: 'name the guest: libvirt:DOMAIN, qmp:SOCKET or image:PATH; or leave the option out',
    });
  }
}

function addHookOptions(command: Command): void {
  command
    .option('--pre-hook <command>', 'run before the job begins; when it fails there is no backup')
    .option('--post-hook <command>', 'run at the end, whatever the end was (NBDELTA_RESULT says)')
    .option(
      '--confirm <command>',
      'asked after the last byte and before the commit: is the job still the same and healthy? (exit code 0)',
    );
}

function addChainOptions(command: Command): void {
  const levels = ['auto', 'full', 'incremental', 'differential', 'copy'];
  command
    .option(
      '--bitmap <template>',
      'dirty bitmap with the changes; {disk} is replaced (default: backup-{disk})',
    )
    .addOption(
      new Option('--level <level>', 'auto: what changed, by bitmap or by --rescan; else full')
        .choices(levels)
        .default('auto'),
    )
    .option('--rescan', 'incremental without bitmaps: read all, store what differs from the last point')
    .option('--since <label|point>', 'what the bitmap records since: a checkpoint, a point, or latest')
    .option('--checkpoint <label>', 'what the new point stands for; a later --since names it')
    .option('--machine-id <id>', 'what never changes about the guest, e.g. its uuid')
    .option('--full-every <n>', 'with auto: a chain has at most this many points', wholeNumber(1))
    .option('--max-chain <n>', 'with auto: a restore reads at most this many archives', wholeNumber(1))
    .option('--allow-partial', 'commit the point even when a disk failed');
}

function addTransferOptions(command: Command): void {
  command
    .option('--compression <codec>', 'zstd:1 to zstd:19, or none (default: zstd:1)')
    .option('--frame-size <size>', 'raw bytes compressed at once (default: 1M)', sizeInBytes)
    .option('--threads <n>', 'threads for compression (default: what the machine has)', wholeNumber(1))
    .option('--connections <n>', 'connections for each disk (default: 4)', wholeNumber(1))
    .option('--request-size <size>', 'largest read that is sent to the server (default: 512K)', sizeInBytes)
    .option(
      '--read-ahead <size>',
      'bytes of reads under way for each disk (default: 2M, and more where that reads faster)',
      sizeInBytes,
    )
    .option(
      '--rate <size>',
      'bytes read per second at most, e.g. 20M (default: as fast as it goes)',
      sizeInBytes,
    )
    .option('--timeout <seconds>', 'how long the server may be silent (default: 60)', secondsAsMs)
    .option('--retries <n>', 'how often a lost connection is opened again (default: 3)', wholeNumber(0));
}

function backupOptions(options: Options): Omit<BackupOptions, 'disks' | 'machine'> {
  const { repo, compression, timeout, level, rescan, machineId } = options;
  const { fullEvery, maxChain, allowPartial, threads, connections, retries, frameSize, rate } = options;
  return {
    ...{ repository: repo, codec: compression, timeoutMs: timeout },
    ...{ level, rescan, machineId, fullEvery, maxChain, allowPartial },
    ...{ threads, connections, retries, frameSize, rate },
    ...{ requestBytes: options.requestSize, windowBytes: options.readAhead },
  };
}
