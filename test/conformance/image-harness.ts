import { readdirSync, readFileSync } from 'node:fs';
import { outputMatches, type RunningProcess, runOk, startProcess, waitFor } from '../support/processes.js';
import { createQcow2 } from '../support/qcow2-image.js';
import { tempFolder } from '../support/temp-folder.js';
import type { GuestHarness } from './guest-harness.js';
import { filesIn } from './left-files.js';

const SIZE = 8 * 2 ** 20;
const DISKS = ['vda', 'vdb'];

/** Two images of a guest that is off, for `image:`; the guest "runs" in between, as qemu-io. */
export async function startImageGuest(): Promise<GuestHarness> {
  const folder = await tempFolder();
  const image = (disk: string) => folder.file(`${disk}.qcow2`);
  for (const disk of DISKS) await createQcow2(image(disk), SIZE);
  const socketDir = folder.file('sockets');
  return {
    source: DISKS.map(disk => ({ disk, source: `image:${image(disk)}` })),
    options: { socketDir },
    disks: DISKS,
    size: SIZE,
    async fill(disk, offset, length, byte) {
      // A server ends with the backup that was killed, but not in the same instant.
      await waitFor(() => servingPids(folder.path).length === 0, 'images that nobody serves');
      await runOk('qemu-io', ['-f', 'qcow2', '-c', `write -P ${byte} ${offset} ${length}`, image(disk)]);
    },
    async leftovers() {
      const servers = servingPids(folder.path).map(pid => `qemu-nbd ${pid}`);
      return [...servers, ...(await filesIn(socketDir))];
    },
    async checkpoints() {
      const found: Record<string, readonly string[]> = {};
      for (const disk of DISKS) found[disk] = await bitmapsOf(image(disk));
      return found;
    },
    async cancelJob() {
      for (const pid of servingPids(folder.path)) process.kill(pid, 'SIGKILL');
    },
    async crash() {
      for (const pid of servingPids(folder.path)) process.kill(pid, 'SIGKILL');
      for (const disk of DISKS) {
        const writer = await openForWriting(image(disk));
        await writer.kill();
      }
    },
    async grow(disk, size) {
      await runOk('qemu-img', ['resize', '-q', '-f', 'qcow2', image(disk), String(size)]);
    },
    occupied: 'IMAGE_IN_USE',
    occupy: () => openForWriting(image(DISKS[0]!)),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** A guest that was started in the meantime, as far as the image can tell. */
function openForWriting(image: string): Promise<RunningProcess> {
  const node = `driver=qcow2,node-name=disk,file.driver=file,file.filename=${image}`;
  const args = ['--blockdev', node, '--chardev', 'stdio,id=c', '--monitor', 'chardev=c'];
  return startProcess('qemu-storage-daemon', args, { ready: outputMatches(/QMP/) });
}

interface ImageInfo {
  readonly 'format-specific'?: {
    readonly data: { readonly bitmaps?: readonly { readonly name: string }[] };
  };
}

async function bitmapsOf(image: string): Promise<readonly string[]> {
  const text = await runOk('qemu-img', ['info', '-U', '--output=json', '-f', 'qcow2', image]);
  const info = JSON.parse(text) as ImageInfo;
  return (info['format-specific']?.data.bitmaps ?? []).map(({ name }) => name);
}

/** Processes called qemu-nbd that were given a file of the folder; at once, or the read would be over meanwhile. */
function servingPids(folder: string): number[] {
  const isServing = (pid: string) => {
    const command = commandLine(pid);
    return /qemu-nbd/.test(command) && command.includes(folder);
  };
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name) && isServing(name))
    .map(Number);
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    // It has ended.
    return '';
  }
}
