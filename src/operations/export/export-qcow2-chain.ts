import { chmod } from 'node:fs/promises';
import { type OpenChain, openChainArchives } from '../../chain/open-chain.js';
import { explicitZeroes } from '../../chain/zero-ranges.js';
import type { FramePool } from '../../codec/frame-pool.js';
import type { ChainLink } from '../../repository/chain.js';
import type { MachineStore } from '../../repository/machine-store.js';
import type { ProgressListener } from '../progress.js';
import { runQemuTool, startQemuNbd, whenListening } from '../qemu-tools.js';
import { restoreDisk } from '../restore-disk.js';
import { openNbdTarget } from '../targets/nbd-target.js';
import type { RestoreTarget } from '../targets/restore-target.js';
import type { ExportFolder } from './export-folder.js';

export interface QcowChainOptions {
  readonly machine: MachineStore;
  /** The chain of one disk, oldest first. */
  readonly links: readonly ChainLink[];
  readonly folder: ExportFolder;
  readonly pool: FramePool;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** A file that was made, and the point that it reads as. */
export interface ExportedFile {
  readonly disk: string;
  readonly point: string;
  readonly name: string;
  /** Of the disk in that point. Bytes. */
  readonly size: number;
}

/**
 * One qcow2 for each point of a disk's chain, each with the one before as its backing file: any of them reads as its point, by
 * QEMU alone. `vda.0001-POINT.qcow2`, `vda.0002-POINT.qcow2` …
 */
export async function exportQcow2Chain(options: QcowChainOptions): Promise<ExportedFile[]> {
  const files: ExportedFile[] = [];
  for (const [index, link] of options.links.entries()) {
    const { disk, point } = link;
    const number = String(index + 1).padStart(4, '0');
    const name = `${disk.name}.${number}-${point.id}.qcow2`;
    await writeImage(link, name, files.at(-1)?.name ?? null, options);
    files.push({ disk: disk.name, point: point.id, name, size: disk.size });
  }
  return files;
}

async function writeImage(
  link: ChainLink,
  name: string,
  backing: string | null,
  { machine, folder, pool, signal, onProgress }: QcowChainOptions,
): Promise<void> {
  const path = folder.file(name);
  const below = backing === null ? [] : ['-b', backing, '-F', 'qcow2'];
  await runQemuTool('qemu-img', ['create', '-q', '-f', 'qcow2', ...below, path, String(link.disk.size)]);
  // A guest's disk is nobody else's business, whatever the umask says.
  await chmod(path, 0o600);
  // This point's archive alone: what it does not mention is left to the image below.
  await using chain = await openChainArchives(machine, [link]);
  await writeThroughServer(path, chain.size, signal, target => {
    const { dataBytes: total } = link.disk.archive;
    const report = (done: number) =>
      onProgress?.({ phase: 'data', disk: chain.disk, done: Math.min(done, total), total });
    return restoreDisk({ chain, target, pool, signal, zeroes: zeroesOf(chain, backing), onProgress: report });
  });
  await runQemuTool('qemu-img', ['check', '-q', '-f', 'qcow2', path]);
}

/** In the lowest image what nobody wrote is zero anyway. */
function zeroesOf(chain: OpenChain, backing: string | null) {
  return backing === null ? [] : explicitZeroes(chain);
}

async function writeThroughServer(
  path: string,
  size: number,
  signal: AbortSignal | undefined,
  write: (target: RestoreTarget) => Promise<void>,
): Promise<void> {
  const args = ['-f', 'qcow2', '--discard=unmap', '--cache=writeback'];
  const server = await startQemuNbd({ image: path, args, lifetime: 'first-client' });
  try {
    const target = await whenListening(() => openNbdTarget(server.uri, size, { zeroed: false, signal }));
    try {
      await write(target);
      await target.finish();
    } catch (error) {
      await target.abort();
      throw error;
    }
  } catch (error) {
    await server.stop({ now: true });
    throw error;
  }
  await server.stop();
}
