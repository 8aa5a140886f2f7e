import type { Finding } from '../../hypervisor/front-end.js';
import type { NbdAddress } from '../../nbd/protocol/uri.js';
import type { ExportDescription } from '../inspect-export.js';

const BITMAP_PREFIX = 'qemu:dirty-bitmap:';

/** What a backup makes of an export as its server describes it. Findings carry the export's name as their disk. */
export function examineExport(seen: ExportDescription, address: NbdAddress): readonly Finding[] {
  const findings = [
    exportFinding(seen),
    repliesFinding(seen),
    connectionsFinding(seen),
    limitsFinding(seen),
    tlsFinding(seen, address),
    allocationFinding(seen),
    diskFinding(seen),
    jobFinding(seen),
  ];
  return seen.export === '' ? findings : findings.map(finding => ({ ...finding, disk: seen.export }));
}

function exportFinding({ server, size, flags }: ExportDescription): Finding {
  const access = flags.includes('read-only') ? 'read-only' : 'writable';
  return { id: 'export', status: 'ok', text: `${server} publishes it: ${size} bytes, ${access}` };
}

function repliesFinding({ replies }: ExportDescription): Finding {
  const id = 'nbd-replies';
  if (replies === 'extended') {
    return { id, status: 'ok', text: 'extended headers: maps and zero ranges with 64-bit lengths' };
  }
  if (replies === 'structured') {
    return { id, status: 'ok', text: 'structured replies (extended headers are not offered)' };
  }
  return {
    ...{ id, status: 'warning' },
    text: 'simple replies only: neither bitmaps nor the allocation can be read, and a hole is sent as zeroes',
    fix: 'serve it with a server that has structured replies: QEMU since 2.12, nbdkit since 1.12',
  };
}

function connectionsFinding({ flags }: ExportDescription): Finding {
  const id = 'nbd-connections';
  if (flags.includes('multi-conn')) return { id, status: 'ok', text: 'several connections may read at once' };
  return { id, status: 'info', text: 'multi-conn is not offered: one connection reads everything' };
}

function limitsFinding({ blockSize, blockSizeAdvertised }: ExportDescription): Finding {
  const { minimum, preferred, maximum } = blockSize;
  const sizes = `blocks of at least ${minimum}, preferably ${preferred} bytes; at most ${maximum} bytes in a request`;
  const text = blockSizeAdvertised ? sizes : `${sizes} (assumed: the server does not say)`;
  return { id: 'nbd-limits', status: 'info', text };
}

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/i;

function tlsFinding({ encrypted }: ExportDescription, address: NbdAddress): Finding {
  const id = 'tls';
  if (encrypted) return { id, status: 'ok', text: 'encrypted, and the server is verified' };
  if (address.kind === 'unix' || LOOPBACK.test(address.host)) {
    return { id, status: 'ok', text: 'not encrypted; it does not leave this machine' };
  }
  return {
    ...{ id, status: 'warning' },
    text: 'not encrypted: whoever sits on the network can read the disk, and change what is read',
    fix: 'serve it with TLS, and use nbds:// with ?tls-certificates=FOLDER',
  };
}

function allocationFinding({ contexts }: ExportDescription): Finding {
  const id = 'allocation';
  if (contexts.includes('base:allocation')) {
    return { id, status: 'ok', text: 'base:allocation is offered: zero ranges need not be read' };
  }
  return { id, status: 'info', text: 'base:allocation is not offered: every byte is read' };
}

function diskFinding({ contexts }: ExportDescription): Finding {
  const id = 'disk';
  const names = contexts
    .filter(name => name.startsWith(BITMAP_PREFIX))
    .map(name => name.slice(BITMAP_PREFIX.length));
  if (names.length > 0) {
    return { id, status: 'ok', text: `dirty bitmaps offered: ${names.join(', ')} (read one with --bitmap)` };
  }
  return {
    ...{ id, status: 'warning' },
    text: 'no dirty bitmap is offered: every backup of it reads everything',
    fix: 'publish one with the export: qemu-nbd -B NAME, or <incremental> in the XML of virsh backup-begin',
  };
}

function jobFinding({ flags }: ExportDescription): Finding {
  const id = 'job';
  if (!flags.includes('read-only')) {
    return {
      ...{ id, status: 'warning' },
      text: 'the export is writable: if anybody writes to it during a backup, the point is of no one time',
      fix: 'publish it read-only, from a snapshot or a backup job',
    };
  }
  const text =
    'whose job publishes it, NBD does not tell; let --confirm COMMAND vouch for it before the commit';
  return { id, status: 'info', text };
}
