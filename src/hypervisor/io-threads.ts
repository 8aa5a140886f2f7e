import { HypervisorError } from '../errors.js';

/** 8.2.3 and 9.0: "only traverse NBDExport->clients from main loop thread" (f816310d0c32). */
const SAFE_SINCE = [8, 2, 3] as const;

/**
 * Whether this QEMU outlives a reader that leaves a disk which an I/O thread serves. Before, such a client is put away in
 * the export's thread, and with the fix of CVE-2024-7409, which distributions carry back and which relies on the main thread,
 * an assertion then ends QEMU, guest and all (`nbd_blockdev_client_closed`; every time on Debian's 7.2.22).
 * Nothing that QEMU tells shows it, the version must do.
 */
export function outlivesReaders(version: string): boolean {
  const parts = version.split('.').map(Number);
  for (const [index, needed] of SAFE_SINCE.entries()) {
    const seen = parts[index] ?? 0;
    if (seen !== needed) return seen > needed;
  }
  return true;
}

/** Why disks in I/O threads are not read. */
export function ioThreadError(disks: readonly string[], version: string): HypervisorError {
  return new HypervisorError(
    'HYPERVISOR_TOO_OLD',
    `an I/O thread serves ${disks.join(', ')}: QEMU ${version} may crash, with the guest, when a reader leaves such a disk`,
    {
      hint: 'QEMU 8.2.3 and newer are safe; until then exclude the disk, run it without an I/O thread, or insist with --allow-io-threads if yours is known to be safe',
      fields: { disks, version },
    },
  );
}
