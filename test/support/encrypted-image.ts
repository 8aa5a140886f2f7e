import { run } from './processes.js';

const ATTEMPTS = 20;

/**
 * `qemu-img create` for an encrypted image. QEMU measures how fast it derives keys, and gives up on a machine that is too
 * busy to be measured.
 */
export async function createEncrypted(args: readonly string[]): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const { code, stderr } = await run('qemu-img', ['create', '-q', ...args]);
    if (code === 0) return;
    if (attempt === ATTEMPTS || !stderr.includes('accurate CPU usage'))
      throw new Error(`qemu-img create: ${stderr}`);
  }
}
