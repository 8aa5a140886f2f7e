import { errorLine, UsageError } from '../../../errors.js';
import type { Finding } from '../../front-end.js';
import type { Host } from '../../host/host.js';
import { findBarrier, type WalkedPath, walkPath } from '../../host/path-access.js';
import { defaultSocketBase, socketPath } from '../../host/socket-folder.js';
import { newRunName } from '../../run-name.js';
import { qemuUser } from '../qemu-user.js';
import type { DomainView } from './domain-view.js';
import { examineAppArmor } from './examine-apparmor.js';
import { closed } from './examine-scratch.js';
import { examineSelinux } from './examine-selinux.js';
import { type QemuAccessor, qemuAccessor } from './qemu-accessor.js';

/** Where QEMU is to bind its NBD socket: whether it may, and whether a path there is short enough. */
export async function* examineSocketFolder(view: DomainView): AsyncGenerator<Finding> {
  const { host, options } = view.connection;
  if (options.listen !== undefined) return;
  const base = options.socketDir ?? (await defaultSocketBase(host));
  const tooLong = judgeLength(base);
  if (tooLong !== undefined) {
    yield tooLong;
    return;
  }
  const user = await qemuUser(view.connection, view.domain);
  const walked = await walkPath(host, base);
  if (user !== undefined) yield await examineOwner(host, walked, await qemuAccessor(host, user));
  yield* examineAppArmor(view, base);
  yield* examineSelinux(view, walked);
}

/** `undefined`: the path is fine. */
export function judgeLength(base: string): Finding | undefined {
  try {
    // All names of runs are equally long.
    socketPath(`${base}/${newRunName('00000000').text}`);
    return undefined;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const fix = error.hint ?? 'give another folder with --socket-dir';
    return { id: 'socket-folder', status: 'problem', text: errorLine(error), fix };
  }
}

async function examineOwner(host: Host, walked: WalkedPath, qemu: QemuAccessor): Promise<Finding> {
  const id = 'socket-folder';
  const { path } = walked;
  const we = Number((await host.run('id', ['-u'])).stdout.toString('utf8'));
  if (we !== 0 && we !== qemu.uid) {
    const text = `QEMU runs as ${qemu.name}, we as user ${we}: a private folder in ${path} cannot be given to it`;
    return { id, status: 'problem', text, fix: 'run as root, or read over TCP with --listen and TLS' };
  }
  const barrier = await findBarrier(host, qemu, walked);
  if (barrier !== undefined) return { ...closed(barrier.path, qemu.name), id };
  const text = `${path}${walked.isThere ? '' : ' (made when needed)'}: QEMU, which runs as ${qemu.name}, can bind there`;
  return { id, status: 'ok', text };
}
