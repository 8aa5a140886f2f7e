import { printable } from '../../errors.js';
import type { CopiedOut, FileSystem, GuestFile } from '../../operations/files/files.js';
import { formatBytes, formatPlural, formatTime } from './format.js';
import { formatTable } from './table.js';
import type { View } from './view.js';

export function* formatFileSystems(fileSystems: readonly FileSystem[], { style }: View): Generator<string> {
  if (fileSystems.length === 0) {
    yield 'no file system: the disks are empty, encrypted, or hold something that libguestfs does not know';
    return;
  }
  yield* formatTable(
    [
      ...[{ title: 'DEVICE' }, { title: 'DISK' }, { title: 'TYPE' }, { title: 'LABEL' }],
      ...[{ title: 'SIZE', align: 'right' as const }, { title: 'MOUNTED AT' }],
    ],
    fileSystems.map(({ device, disk, type, label, size, mountPoint }) => [
      ...[style.bold(printable(device)), disk ?? '-', printable(type), printable(label ?? '-')],
      ...[size === null ? '-' : formatBytes(size), printable(mountPoint ?? '-')],
    ]),
    style,
  );
}

const LETTERS = {
  file: '-',
  folder: 'd',
  link: 'l',
  device: 'b',
  fifo: 'p',
  socket: 's',
  unknown: '?',
} as const;

export function* formatEntries(entries: readonly GuestFile[], { style }: View): Generator<string> {
  if (entries.length === 0) return;
  yield* formatTable(
    [
      ...[{ title: 'MODE' }, { title: 'OWNER' }, { title: 'SIZE', align: 'right' as const }],
      ...[{ title: 'MODIFIED' }, { title: 'NAME' }],
    ],
    entries.map(({ name, kind, mode, size, uid, gid, modified, target }) => [
      ...[`${LETTERS[kind]}${formatMode(mode)}`, `${uid}:${gid}`, kind === 'file' ? formatBytes(size) : ''],
      formatTime(modified),
      (kind === 'folder' ? style.bold(printable(name)) : printable(name)) +
        (target === null ? '' : ` -> ${printable(target)}`),
    ]),
    style,
  );
}

/** `rwxr-x---`. */
function formatMode(mode: number): string {
  return [...'rwxrwxrwx'].map((letter, index) => (mode & (0o400 >> index) ? letter : '-')).join('');
}

export function* formatCopied({ target, files, folders, links, skipped, bytes }: CopiedOut, { style }: View) {
  const parts = [
    formatPlural(files, 'file'),
    ...(folders > 0 ? [formatPlural(folders, 'folder')] : []),
    ...(links > 0 ? [formatPlural(links, 'link')] : []),
  ];
  yield `copied to ${style.bold(printable(target))}: ${parts.join(', ')}, ${formatBytes(bytes)}`;
  if (skipped > 0) yield `note: ${formatPlural(skipped, 'device')} left out`;
}
