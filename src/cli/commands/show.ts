import type { Command } from 'commander';
import { printable } from '../../errors.js';
import type { ShownPoint } from '../../operations/list-points.js';
import { POINT_HELP, withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes, formatDuration, formatTime } from '../display/format.js';
import {
  describePin,
  describeSince,
  formatDisks,
  formatRatio,
  type PointManifest,
} from '../display/point-table.js';
import { formatCard } from '../display/table.js';
import type { View } from '../display/view.js';
import { withSubjectOnce } from '../display/without-subject.js';
import { type CommonOptions, runCommand } from '../run-command.js';

interface Options extends CommonOptions {
  readonly repo: string;
}

export function addShowCommand(program: Command): void {
  const command = program
    .command('show')
    .description('show everything about one recovery point')
    .argument('<point>', POINT_HELP);
  withRepository(command);
  const examples = ['show web1 --repo /backup', 'show web1@2026-11-22 --json'];
  withCommonOptions(command, examples).action((point: string, options: Options) =>
    runCommand(options, async context => {
      const { showPoint } = await import('../../operations/list-points.js');
      const shown = await showPoint({ repository: options.repo, point });
      await context.print({ json: () => shown, text: view => formatPoint(shown, view) });
      return undefined;
    }),
  );
}

function formatPoint({ machine, point, pin, manifestSha256 }: ShownPoint, view: View): string[] {
  const { style } = view;
  const { statistics, software } = point;
  const isMerged = point.replaces.length > 0;
  const taking = formatDuration(
    Math.max(0, Date.parse(statistics.finishedAt) - Date.parse(statistics.startedAt)),
  );
  const card = [
    ['level', point.reason ? `${point.level} (${printable(point.reason.text)})` : point.level],
    ['taken', isMerged ? formatTime(point.created) : `${formatTime(point.created)}, in ${taking}`],
    ['merged', isMerged ? `${formatTime(statistics.finishedAt)}, in ${taking}` : undefined],
    ['machine id', printable(point.machine.id ?? 'none given')],
    ['guest', point.guest && describeGuest(point.guest)],
    ['files', point.files.map(({ name, bytes }) => `${name} (${formatBytes(bytes)})`)],
    ['parent', point.parent?.id],
    ['since', describeSince(point)],
    ['checkpoint', printable(point.checkpoint ?? '') || undefined],
    ['merged from', point.replaces],
    ['stands for', point.standsFor.map(({ id }) => id)],
    ['pinned', pin === null ? undefined : describePin(pin)],
    ['partial', point.partial ? style.yellow('yes: not every disk is in it') : undefined],
    [isMerged ? 'copied' : 'read', formatBytes(statistics.readBytes)],
    ['kept', `${formatBytes(statistics.dataBytes)} data, ${formatBytes(statistics.zeroBytes)} zero`],
    ['stored', storedLine(statistics)],
    ['warnings', point.warnings.map(warning => style.yellow(printable(withSubjectOnce(warning.text))))],
    ['software', printable(`${software.name} ${software.version}`)],
    ['manifest', `sha256 ${manifestSha256}`],
  ] as const;
  return [
    style.bold(`${machine}@${point.id}`),
    ...formatCard(card, style).map(line => `  ${line}`),
    '',
    ...formatDisks(point, view),
    ...point.disks.flatMap(disk => diskDetails(disk, view)),
  ];
}

function describeGuest(guest: NonNullable<PointManifest['guest']>): string {
  const { kind, name, state, quiesced, versions } = guest;
  const parts = Object.entries(versions).map(([what, version]) => `${what} ${version}`);
  const how = [state, ...(quiesced ? ['file systems frozen'] : []), ...parts].join(', ');
  return printable(`${kind} ${name} (${how})`);
}

function storedLine({ dataBytes, storedBytes }: PointManifest['statistics']): string {
  return `${formatBytes(storedBytes)} (ratio ${formatRatio(dataBytes, storedBytes)})`;
}

function diskDetails(disk: PointManifest['disks'][number], { style }: View): string[] {
  const archive = disk.status === 'stored' ? disk.archive : undefined;
  const volumes = archive?.volumes.map(({ name, bytes }) => `${name} (${formatBytes(bytes)})`);
  const card = [
    ['source', printable(disk.source ?? '') || undefined],
    ['format', printable(disk.format ?? '') || undefined],
    ['bitmap', printable(disk.bitmap ?? '') || undefined],
    ['reason', disk.reason ? printable(disk.reason.text) : undefined],
    ['archive', archive?.archiveId],
    ['builds on', archive?.parentArchiveId ?? undefined],
    ['codec', archive && `${printable(archive.codec)}, frames of ${formatBytes(archive.frameSize)}`],
    ['volumes', volumes],
  ] as const;
  return ['', style.bold(disk.name), ...formatCard(card, style).map(line => `  ${line}`)];
}
