import { type RunningProcess, startProcess } from './processes.js';
import { TestQmp } from './qmp.js';
import { tempFolder } from './temp-folder.js';

export interface ImageUserOptions {
  readonly format: 'qcow2' | 'raw' | 'luks';
  /** Passphrase file of a LUKS image. */
  readonly secretFile?: string;
}

/** A stopped virtual machine that has an image open as its disk: what QEMU's lock says of it, a guest's QEMU would. */
export async function startImageUser(image: string, options: ImageUserOptions): Promise<RunningProcess> {
  const { format, secretFile } = options;
  await using folder = await tempFolder();
  const socket = folder.file('qmp');
  const key = secretFile === undefined ? {} : { 'key-secret': 'key' };
  const file = { driver: 'file', filename: image };
  const node = JSON.stringify({ driver: format, 'node-name': 'disk', ...key, file });
  const args = [
    ...['-S', '-display', 'none', '-nodefaults', '-machine', 'q35', '-accel', 'tcg', '-m', '64'],
    ...(secretFile === undefined ? [] : ['-object', `secret,id=key,file=${secretFile}`]),
    ...['-blockdev', node, '-device', 'virtio-blk-pci,drive=disk'],
    ...['-qmp', `unix:${socket},server=on,wait=off`],
  ];
  return await startProcess('qemu-system-x86_64', args, { ready: () => answers(socket) });
}

/** The socket is there, and greets, before the disks are open; a command is answered when all is done. */
async function answers(socket: string): Promise<boolean> {
  try {
    await using qmp = await TestQmp.open(socket);
    await qmp.execute('query-status');
    return true;
  } catch {
    return false;
  }
}
