import { Argument, type Command } from 'commander';
import { printable, UsageError } from '../../errors.js';
import type { GuestFiles } from '../../operations/files/files.js';
import { checkGuestPath } from '../../operations/files/guest-path.js';
import { POINT_HELP, withCommonOptions, withRepository } from '../command-options.js';
import { formatCopied, formatEntries, formatFileSystems } from '../display/guest-files.js';
import { type CommandContext, type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'files web1 ls --repo /backup                      # which file systems there are',
  'files web1@2026-11-22 ls /etc',
  'files web1 cat /etc/fstab',
  'files web1 cp /var/www /restored                  # a file or a folder, as /restored/www',
  'files data ls / --device /dev/sda1                # one file system, when there is no operating system',
];

interface Options extends CommonOptions {
  readonly repo: string;
  readonly disk?: string;
  readonly device?: string;
}

const ACTIONS = { ls: list, cat: show, cp: copy } as const;

interface Request {
  readonly action: keyof typeof ACTIONS;
  readonly path: string | undefined;
  readonly to: string | undefined;
}

export function addFilesCommand(program: Command): void {
  const command = program
    .command('files')
    .description('single files out of a point, through libguestfs (guestfish); nothing is restored first')
    .argument('<point>', POINT_HELP)
    .addArgument(new Argument('<action>', 'list, print, or copy out').choices(Object.keys(ACTIONS)))
    .argument('[path]', 'of the guest, from its root; ls without one lists file systems')
    .argument('[to]', 'cp: a folder to put it into, or the name of the copy')
    .option('--disk <disk>', 'only this disk')
    .option('--device <device>', 'paths begin at this file system, as ls without a path calls it');
  withRepository(command);
  withCommonOptions(command, EXAMPLES).action(
    (
      point: string,
      action: Request['action'],
      path: string | undefined,
      to: string | undefined,
      options: Options,
    ) =>
      runCommand(options, async context => {
        checkRequest({ action, path, to });
        if (action === 'cat') context.takeStdout();
        const { openFiles } = await import('../../operations/files/files.js');
        const { repo, disk, device } = options;
        await using files = await openFiles({
          ...{ repository: repo, point, disk, device },
          signal: context.signal,
          onNote: text => context.note(printable(text)),
        });
        await ACTIONS[action](files, { action, path, to }, context);
        return undefined;
      }),
  );
}

/** Before the appliance is started, which takes a while. */
function checkRequest({ action, path, to }: Request): void {
  if (action !== 'ls' && path === undefined) throw new UsageError(`${action} needs the path of a file`);
  if (path !== undefined) checkGuestPath(path);
  if (action === 'cp' && to === undefined) throw new UsageError('cp needs a place to copy to');
  if (action !== 'cp' && to !== undefined)
    throw new UsageError(`${action} takes one path, expected no ${JSON.stringify(to)}`);
}

async function list(files: GuestFiles, { path }: Request, context: CommandContext): Promise<void> {
  const { machine, point } = files;
  if (path === undefined) {
    const fileSystems = await files.fileSystems();
    await context.print({
      json: () => ({ machine, point, fileSystems }),
      text: view => formatFileSystems(fileSystems, view),
    });
    return;
  }
  const entries = await files.list(path);
  await context.print({
    json: () => ({ machine, point, path, entries }),
    text: view => formatEntries(entries, view),
  });
}

async function show(files: GuestFiles, { path }: Request): Promise<void> {
  await files.read(path!, process.stdout);
}

async function copy(files: GuestFiles, { path, to }: Request, context: CommandContext): Promise<void> {
  const copied = await files.copy(path!, to!);
  const { machine, point } = files;
  await context.print({
    json: () => ({ machine, point, path, ...copied }),
    text: view => formatCopied(copied, view),
  });
}
