import { applianceFailed, mayBeKvm } from './appliance-failure.js';
import { GuestfishSession } from './guestfish-session.js';
import { quoteWord } from './guestfish-words.js';

export interface ApplianceOptions {
  /** Names of the exports at {@link socket}, in the order in which the appliance is to have them. */
  readonly disks: readonly string[];
  /** Path of a unix socket of an NBD server. */
  readonly socket: string;
  readonly signal?: AbortSignal | undefined;
  readonly onNote?: ((text: string) => void) | undefined;
}

/**
 * Starts libguestfs with some disks, read-only. When QEMU dies of KVM once more without, unless the user has said how
 * to start it.
 * @throws NbdeltaError TOOL_MISSING when it is not installed, has no kernel, or does not start.
 */
export async function startAppliance(options: ApplianceOptions): Promise<GuestfishSession> {
  try {
    return await launch(options, {});
  } catch (error) {
    if (!mayBeKvm(error) || process.env['LIBGUESTFS_BACKEND_SETTINGS']) throw await applianceFailed(error);
  }
  options.onNote?.('KVM does not work here: once more without');
  try {
    return await launch(options, { LIBGUESTFS_BACKEND_SETTINGS: 'force_tcg' });
  } catch (error) {
    throw await applianceFailed(error);
  }
}

async function launch(
  { disks, socket, signal }: ApplianceOptions,
  settings: Readonly<Record<string, string>>,
): Promise<GuestfishSession> {
  // Through libvirt QEMU would run as another user, who cannot reach our socket.
  const backend = process.env['LIBGUESTFS_BACKEND'] || 'direct';
  const session = GuestfishSession.start({ env: { LIBGUESTFS_BACKEND: backend, ...settings }, signal });
  try {
    for (const disk of disks) {
      const place = ['protocol:nbd', quoteWord(`server:unix:${socket}`)];
      await session.command('add-drive', quoteWord(disk), 'readonly:true', 'format:raw', ...place);
    }
    await session.command('run');
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}
