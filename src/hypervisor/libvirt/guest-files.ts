import { HypervisorError } from '../../errors.js';
import type { GuestFile } from '../front-end.js';
import type { SessionRecord } from '../session-record.js';
import { parseDomain } from './domain-xml.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { domainOf } from './own-job.js';

/** UEFI's variables take 64 MiB on some machines (aarch64), 128 KiB to 4 MiB on others. */
const MAX_NVRAM = 64 << 20;

/** What defines a domain, and the record's checkpoint as libvirt describes it, for when libvirt forgets it. */
export async function readGuestFiles(
  connection: LibvirtConnection,
  record: SessionRecord,
): Promise<readonly GuestFile[]> {
  const uuid = domainOf(record);
  const { virsh } = connection;
  // As it is started the next time; a transient domain has only the one that runs.
  const xml = await virsh.domain(uuid, 'dumpxml', { options: { inactive: true } });
  const files: GuestFile[] = [{ name: 'domain.xml', bytes: Buffer.from(xml, 'utf8') }];
  const nvram = parseDomain(xml).nvram ?? (await connection.domain(uuid)).nvram;
  if (nvram !== undefined) files.push({ name: 'nvram.fd', bytes: await readNvram(connection, nvram) });
  if (record.checkpoint !== null) {
    const options = { checkpointname: record.checkpoint } as const;
    const checkpoint = await virsh.domain(uuid, 'checkpoint-dumpxml', { options });
    files.push({ name: 'checkpoint.xml', bytes: Buffer.from(checkpoint, 'utf8') });
  }
  return files;
}

async function readNvram({ host }: LibvirtConnection, path: string): Promise<Uint8Array> {
  const bytes = await host.readFile(path, MAX_NVRAM);
  if (bytes !== undefined) return bytes;
  throw new HypervisorError('HYPERVISOR_FAILED', `the guest's nvram file ${path} is not there`, {
    hint: "is libvirt's host another one? then connect to it with qemu+ssh://",
  });
}
