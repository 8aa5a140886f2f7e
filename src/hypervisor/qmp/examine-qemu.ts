import { stat } from 'node:fs/promises';
import { toNbdeltaError } from '../../errors.js';
import type { DiskSelection, Finding } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { Host } from '../host/host.js';
import { findRunName } from '../run-name.js';
import type { QemuDisk } from './block-devices.js';
import { missingFeatures, readCapabilities } from './capabilities.js';
import { inspectQemu, type QemuGuest } from './inspect-qemu.js';
import { refuseUnsafeDisks } from './io-threads.js';
import { queryExports, queryJobs } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';
import { checkScratchSpace, DEFAULT_SCRATCH_RESERVE, forecastScratch } from './scratch-space.js';
import type { RunPlaces } from './sweep.js';
import { findTlsCredentials } from './tls-credentials.js';

export interface ExamineParts {
  readonly host: Host;
  readonly options: FrontEndOptions;
  readonly socket: string;
  readonly open: () => Promise<QmpClient>;
  readonly places: () => Promise<RunPlaces>;
}

/** Looks at everything that a backup over QMP needs; what is missing is a finding, not an error. */
export async function* examineQemu(parts: ExamineParts, selection: DiskSelection): AsyncGenerator<Finding> {
  let client: QmpClient;
  try {
    client = await parts.open();
  } catch (error) {
    yield problem('qmp-socket', error);
    return;
  }
  yield { id: 'qmp-socket', status: 'ok', text: `${parts.socket} speaks QMP, and serves us` };
  yield { id: 'qemu-version', status: 'info', text: `QEMU ${client.version}` };
  const features = await examineFeatures(client);
  yield features;
  if (features.status === 'problem') return;
  const guest = await inspectQemu(client, selection);
  yield* guest.disks.flatMap(examineDisk);
  yield* guest.skipped.map(({ name, reason }) => info('disk', reason.text, name));
  yield await attempt('io-threads', 'no disk is in an I/O thread that this QEMU could crash of', () =>
    refuseUnsafeDisks(client, guest.disks),
  );
  yield* await examineJobs(client);
  yield* await examinePlaces(parts, client, guest);
  yield info('quiesce', 'over QMP there is no way to the guest agent: --quiesce needs libvirt');
}

async function examineFeatures(client: QmpClient): Promise<Finding> {
  const missing = missingFeatures(await readCapabilities(client));
  if (missing.length === 0) {
    return {
      id: 'features',
      status: 'ok',
      text: 'bitmaps, backup jobs in a transaction and exports are there',
    };
  }
  const list = missing.map(({ name, since }) => `${name} (QEMU ${since})`).join(', ');
  return {
    id: 'features',
    status: 'problem',
    text: `this QEMU has not got: ${list}`,
    fix: 'update QEMU to 5.2 or newer, or back up with the guest off: image:PATH',
  };
}

function examineDisk({ name, size, format, source, noBitmap, node }: QemuDisk): readonly Finding[] {
  const text = `disk ${name}: ${size} bytes, ${format}, ${source ?? 'of a source that has no name'}`;
  const bitmaps = node['dirty-bitmaps'].flatMap(bitmap =>
    bitmap.name === undefined ? [] : [examineBitmap(name, { ...bitmap, name: bitmap.name })],
  );
  if (noBitmap === null) return [{ id: 'disk', status: 'ok', text, disk: name }, ...bitmaps];
  const fix = 'convert it to qcow2 (compat=1.1) for incrementals; until then it is read as a whole each time';
  return [{ id: 'disk', status: 'warning', text: `${text}; ${noBitmap.text}`, fix, disk: name }, ...bitmaps];
}

interface NamedBitmap {
  readonly name: string;
  readonly inconsistent: boolean;
  readonly recording: boolean;
  readonly busy: boolean;
}

function examineBitmap(disk: string, { name, inconsistent, recording, busy }: NamedBitmap): Finding {
  const whose = findRunName(name) === undefined ? "somebody else's" : 'nbdelta made it';
  const state = recording ? 'records' : 'does not record';
  const text = `bitmap ${name} of disk ${disk}: ${inconsistent ? 'inconsistent' : state}${busy ? ', in use' : ''}; ${whose}`;
  if (!inconsistent) return { id: 'bitmap', status: 'ok', text, disk };
  const fix =
    findRunName(name) === undefined
      ? 'QEMU was killed while it recorded: it is of no use to anybody; QMP block-dirty-bitmap-remove'
      : 'QEMU was killed while it recorded: the next backup reads this disk as a whole, and then removes it';
  return { id: 'bitmap', status: 'warning', text, fix, disk };
}

/** Jobs and exports; QEMU has one NBD server, so that an export of somebody else's is in the way. */
async function examineJobs(client: QmpClient): Promise<readonly Finding[]> {
  const jobs = (await queryJobs(client)).map(({ id, type, status }) => {
    const text = `job ${id} (${type}) is ${status}`;
    if (findRunName(id) !== undefined) return info('job', `${text}; nbdelta made it`);
    const fix = 'a backup of the same disk has to wait for it';
    return { id: 'job', status: 'warning', text: `${text}; it is somebody else's`, fix } as const;
  });
  const exports = (await queryExports(client)).map((found): Finding => {
    const text = `node ${found['node-name']} is exported (${found.type}, ${found.id})`;
    if (findRunName(found.id) !== undefined) return info('export', `${text}; nbdelta made it`);
    if (found.type !== 'nbd') return info('export', text);
    const fix = 'QEMU has one NBD server: let it finish, or remove the export and stop the server';
    return { id: 'export', status: 'problem', text: `${text} by somebody else`, fix };
  });
  return [...jobs, ...exports];
}

async function examinePlaces(
  { host, options, socket, places }: ExamineParts,
  client: QmpClient,
  guest: QemuGuest,
): Promise<readonly Finding[]> {
  const { scratch, sockets } = await places();
  const reserve = options.scratchReserve ?? DEFAULT_SCRATCH_RESERVE;
  const space = await attempt(
    'scratch-space',
    `the scratch folder ${scratch} has space for every case`,
    async () => {
      const free = await checkScratchSpace(host, scratch, reserve);
      return forecastScratch(
        scratch,
        free,
        reserve,
        guest.disks.map(({ size }) => size),
      )[0]?.text;
    },
  );
  const tls =
    options.listen === undefined
      ? await examineOwner(socket, sockets)
      : await attempt('tls', 'QEMU has server credentials that ask for a certificate', async () => {
          await findTlsCredentials(client);
        });
  return [space, tls];
}

/** Folders for the socket and the scratch files are given to QEMU's user. */
async function examineOwner(socket: string, sockets: string): Promise<Finding> {
  const { uid } = await stat(socket);
  const we = process.geteuid?.();
  const id = 'socket-folder';
  if (we === 0 || we === uid) {
    return {
      id,
      status: 'ok',
      text: `private folders in ${sockets} can be given to user ${uid}, as whom QEMU runs`,
    };
  }
  const text = `QEMU runs as user ${uid}, we as ${we}: private folders in ${sockets} cannot be given to it`;
  return { id, status: 'problem', text, fix: "run as root, or as QEMU's user" };
}

/** What `look` throws is a problem; what it says is a warning. */
async function attempt(id: string, ok: string, look: () => Promise<unknown>): Promise<Finding> {
  try {
    const warning = await look();
    if (typeof warning !== 'string') return { id, status: 'ok', text: ok };
    return { id, status: 'warning', text: warning, fix: 'choose a folder with more space with --scratch' };
  } catch (error) {
    return problem(id, error);
  }
}

function problem(id: string, error: unknown): Finding {
  const { message, hint } = toNbdeltaError(error);
  return { id, status: 'problem', text: message, fix: hint ?? 'see the message' };
}

function info(id: string, text: string, disk?: string): Finding {
  return { id, status: 'info', text, ...(disk === undefined ? {} : { disk }) };
}
