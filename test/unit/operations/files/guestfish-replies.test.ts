/** Replies as guestfish 1.48 prints them. */
import { describe, expect, it } from 'vitest';
import { diskOf, holdsFiles, parsePairs } from '#nbdelta/operations/files/file-systems.js';
import { parseStatuses, splitNames } from '#nbdelta/operations/files/guest-entries.js';
import { guestfishFailed } from '#nbdelta/operations/files/guestfish-failure.js';

const fields = (mode: number, ino = 12) =>
  [
    ...['st_dev: 2048', `st_ino: ${ino}`, `st_mode: ${mode}`, 'st_nlink: 1', 'st_uid: 1000', 'st_gid: 100'],
    ...['st_rdev: 0', 'st_size: 2', 'st_blksize: 1024', 'st_mtime_sec: 1795490991', 'st_mtime_nsec: 0'],
  ] as const;

describe('statuses', () => {
  const file = { mode: 0o644, size: 2, uid: 1000, gid: 100, modified: '2026-11-24T03:29:51.000Z' };

  it('of one file', () =>
    expect(parseStatuses(`${fields(0o100644).join('\n')}\n`)).toEqual([{ kind: 'file', ...file }]));

  it.each([
    [0o010644, 'fifo'],
    [0o020644, 'device'],
    [0o040644, 'folder'],
    [0o060644, 'device'],
    [0o100644, 'file'],
    [0o120644, 'link'],
    [0o140644, 'socket'],
    [0o644, 'unknown'],
  ])('of mode %o: %s', (mode, kind) =>
    expect(parseStatuses(fields(mode).join('\n'))).toEqual([{ kind, ...file }]),
  );

  it('of many, one of which went away', () => {
    const struct = (index: number, lines: readonly string[]) =>
      `[${index}] = {\n${lines.map(line => `  ${line}\n`).join('')}}\n`;
    const text = struct(0, fields(0o100644)) + struct(1, fields(0, -1)) + struct(2, fields(0o041777));
    expect(parseStatuses(text)).toEqual([
      { kind: 'file', ...file },
      undefined,
      { kind: 'folder', ...file, mode: 0o1777 },
    ]);
  });

  it('of a time beyond all calendars', () => {
    const text = fields(0o100644).join('\n').replace('1795490991', '9223372036854775807');
    expect(parseStatuses(text)[0]?.modified).toMatch(/^\+275760/);
  });

  it('without a size are none', () => {
    const lines = fields(0o100644).filter(line => !line.startsWith('st_size'));
    expect(() => parseStatuses(lines.join('\n'))).toThrow(/no st_size/);
  });
});

describe('names', () => {
  it('end with a zero byte each', () =>
    expect(splitNames(Buffer.from('-n\0new\nline\0 \0')).map(String)).toEqual(['-n', 'new\nline', ' ']));
  it('of an empty folder', () => expect(splitNames(Buffer.alloc(0))).toEqual([]));
});

describe('file systems', () => {
  it('are pairs, whatever colons a name has', () =>
    expect(parsePairs('/dev/sda1: ext4\nbtrfsvol:/dev/sda2/a: b: btrfs\n')).toEqual([
      ['/dev/sda1', 'ext4'],
      ['btrfsvol:/dev/sda2/a: b', 'btrfs'],
    ]));

  it.each([
    ['/dev/sda', 'vda'],
    ['/dev/sda1', 'vda'],
    ['/dev/sdb12', 'vdb'],
    ['btrfsvol:/dev/sdb2/home', 'vdb'],
    ['/dev/sdc', null],
    ['/dev/vg/root', null],
    ['/dev/sdab1', 'disk-28'],
  ])('%s is on %s', (device, disk) => {
    const disks = ['vda', 'vdb'];
    if (disk === 'disk-28') disks.push(...Array.from({ length: 26 }, (_, at) => `disk-${at + 3}`));
    expect(diskOf(device, disks)).toBe(disk);
  });

  it('that hold no files', () => {
    expect(['ext4', 'ntfs', 'swap', 'unknown', 'crypto_LUKS'].map(type => holdsFiles({ type }))).toEqual([
      ...[true, true, false, false, false],
    ]);
  });
});

describe('complaints', () => {
  const complaint = (said: string) => `*stdin*:6: libguestfs: error: ${said}\n`;
  it.each([
    ['ls0', 'ls0: opendir: /a: No such file or directory', 'FILE_UNKNOWN', '/a: No such file or directory'],
    ['download', 'download: /dir: is a directory', 'USAGE', '/dir: is a directory'],
    ['ls0', 'ls0: opendir: /a.txt: Not a directory', 'USAGE', '/a.txt: Not a directory'],
    [
      'download',
      'download: /a: Input/output error',
      'TOOL_MISSING',
      'guestfish failed: download: /a: Input/output error',
    ],
  ])('%s: %s', (command, said, code, message) =>
    expect(guestfishFailed(command, complaint(said))).toMatchObject({ code, message }),
  );

  it('that are none', () =>
    expect(guestfishFailed('run', '').message).toBe('guestfish failed: it ended without a word'));
});
