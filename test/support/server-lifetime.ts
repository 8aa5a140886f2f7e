import { type NbdAddress, type NbdServerHandle, nbdUri } from './nbd-server-handle.js';
import { freePort, greets, type ReadyCondition, type RunningProcess } from './processes.js';
import { type TempFolder, tempFolder } from './temp-folder.js';

/** A place to listen at: a unix socket in the folder, or a free port of 127.0.0.1. */
export async function chooseAddress(
  folder: TempFolder,
  transport: 'unix' | 'tcp' = 'unix',
): Promise<NbdAddress> {
  if (transport === 'unix') return { kind: 'unix', socket: folder.file('nbd.sock') };
  return { kind: 'tcp', port: await freePort() };
}

/** Ready when a server greets: by then it has its export, or has ended for want of it. */
export function addressGreets(address: NbdAddress): ReadyCondition {
  return greets(address.kind === 'unix' ? { path: address.socket } : { port: address.port });
}

export interface ServerPlan {
  readonly transport?: 'unix' | 'tcp';
  readonly exportName: string;
  readonly tls: boolean;
  /** Starts the program that listens at `address`; `folder` is its own, removed after it. */
  readonly start: (address: NbdAddress, folder: TempFolder) => Promise<RunningProcess>;
}

/** Folder, address, process and their end in the right order: what every server of the tests shares. */
export async function startServer(plan: ServerPlan): Promise<NbdServerHandle> {
  const folder = await tempFolder();
  try {
    const address = await chooseAddress(folder, plan.transport);
    const process = await plan.start(address, folder);
    const uriOf = (name: string): string => nbdUri(address, name, { tls: plan.tls });
    const end = async (): Promise<void> => {
      await process.stop();
      await folder[Symbol.asyncDispose]();
    };
    const { exportName } = plan;
    return { uri: uriOf(exportName), address, exportName, process, uriOf, [Symbol.asyncDispose]: end };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}
