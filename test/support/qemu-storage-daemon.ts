import type { NbdAddress, NbdServerHandle } from './nbd-server-handle.js';
import { startProcess } from './processes.js';
import { TestQmp } from './qmp.js';
import { startServer } from './server-lifetime.js';
import { type TempFolder, tempFolder } from './temp-folder.js';

export interface QemuStorageDaemonOptions {
  readonly image: string;
  readonly format?: 'qcow2' | 'raw';
  readonly bitmaps?: readonly string[];
  readonly exportName?: string;
  /** Opens the image for writing and lets clients write. */
  readonly writable?: boolean;
  readonly allocationDepth?: boolean;
}

export interface QemuStorageDaemon extends NbdServerHandle {
  readonly qmp: TestQmp;
  readonly qmpSocket: string;
}

async function startDaemon(options: QemuStorageDaemonOptions, qmpSocket: string) {
  const readOnly = options.writable === true ? 'off' : 'on';
  const node = `driver=${options.format ?? 'qcow2'},node-name=disk0,discard=unmap,read-only=${readOnly}`;
  const args = [
    ...['--blockdev', `${node},file.driver=file,file.filename=${options.image}`],
    ...['--chardev', `socket,id=qmp,path=${qmpSocket},server=on,wait=off`, '--monitor', 'chardev=qmp'],
  ];
  let qmp: TestQmp | undefined;
  const isAnswering = async (): Promise<boolean> => {
    qmp = await TestQmp.open(qmpSocket).catch(() => undefined); // not listening yet
    return qmp !== undefined;
  };
  const process = await startProcess('qemu-storage-daemon', args, { ready: isAnswering });
  return { process, qmp: qmp! };
}

async function publish(qmp: TestQmp, options: QemuStorageDaemonOptions, address: NbdAddress): Promise<void> {
  if (address.kind !== 'unix') throw new Error('qemu-storage-daemon: only unix sockets here');
  const addr = { type: 'unix', data: { path: address.socket } };
  await qmp.execute('nbd-server-start', { addr, 'max-connections': 16 });
  await qmp.execute('block-export-add', {
    ...{ type: 'nbd', id: 'exp0', 'node-name': 'disk0', name: options.exportName ?? 'vda' },
    ...{ writable: options.writable === true, 'allocation-depth': options.allocationDepth === true },
    bitmaps: options.bitmaps ?? [],
  });
}

/** Starts `qemu-storage-daemon` with one image, its NBD server and one export (`vda` by default). */
export async function startQemuStorageDaemon(options: QemuStorageDaemonOptions): Promise<QemuStorageDaemon> {
  const own: TempFolder = await tempFolder();
  const qmpSocket = own.file('qmp.sock');
  let qmp: TestQmp | undefined;
  const start = async (address: NbdAddress) => {
    const daemon = await startDaemon(options, qmpSocket);
    qmp = daemon.qmp;
    await publish(qmp, options, address).catch(async (error: unknown) => {
      await daemon.process.kill();
      throw error;
    });
    return daemon.process;
  };
  const end = async (): Promise<void> => {
    await qmp?.[Symbol.asyncDispose]();
    await own[Symbol.asyncDispose]();
  };
  try {
    const server = await startServer({ exportName: options.exportName ?? 'vda', tls: false, start });
    const dispose = async (): Promise<void> => {
      await server[Symbol.asyncDispose]();
      await end();
    };
    return { ...server, qmp: qmp!, qmpSocket, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await end();
    throw error;
  }
}
