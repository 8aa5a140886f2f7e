import { errorLine, NbdeltaError } from '../../errors.js';
import type { Action } from '../front-end.js';
import { parseCheckpoint } from './checkpoint-xml.js';
import type { Domain } from './domain-xml.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { wordsOf } from './virsh-error.js';

/**
 * Deletes a checkpoint with its bitmaps. Where a bitmap is broken, or the domain is off, libvirt (9.0) deletes none
 * of it: then the bitmaps are removed from images that nobody uses, and libvirt is made to forget the checkpoint.
 */
export async function deleteCheckpoint(
  connection: LibvirtConnection,
  domain: Domain,
  name: string,
): Promise<readonly Action[]> {
  const { virsh } = connection;
  const options = { checkpointname: name } as const;
  const deleted: Action = { what: 'checkpoint-deleted', name, text: `checkpoint ${name} was deleted` };
  try {
    await virsh.domain(domain.uuid, 'checkpoint-delete', { options });
    return [deleted];
  } catch (error) {
    if (isGone(error)) return [];
    if (!isUndeletable(error)) throw error;
    const left = await bitmapsThatStay(connection, domain, name, error);
    await virsh.domain(domain.uuid, 'checkpoint-delete', { options: { ...options, metadata: true } });
    return [deleted, ...left];
  }
}

function isGone(error: unknown): boolean {
  return /checkpoint not found|no domain checkpoint with matching name/i.test(wordsOf(error));
}

function isUndeletable(error: unknown): boolean {
  return /inactive domain|not found in backing chain|bitmap/i.test(wordsOf(error));
}

/** Removes what can be removed of a checkpoint's bitmaps; what stays is harmless, and said. */
async function bitmapsThatStay(
  connection: LibvirtConnection,
  domain: Domain,
  name: string,
  why: unknown,
): Promise<readonly Action[]> {
  const dump = await connection.virsh.domain(domain.uuid, 'checkpoint-dumpxml', {
    options: { checkpointname: name, 'no-domain': true },
  });
  const actions: Action[] = [];
  for (const { name: target, bitmap } of parseCheckpoint(dump).disks) {
    const path = domain.disks.find(disk => disk.target === target)?.path;
    if (bitmap === undefined || path === undefined) continue;
    const problem =
      domain.id === undefined ? await removeFromImage(connection, path, bitmap) : errorLine(why);
    if (problem !== undefined) actions.push(stays(path, bitmap, problem));
  }
  return actions;
}

function stays(path: string, bitmap: string, why: string): Action {
  const text = `bitmap ${bitmap} may still be in ${path} (${why}); with the guest off: qemu-img bitmap --remove`;
  return { what: 'left', name: bitmap, text };
}

/** Why a bitmap stays in the image of a guest that is off. QEMU's own lock refuses an image that is in use. */
async function removeFromImage(
  { host }: LibvirtConnection,
  path: string,
  bitmap: string,
): Promise<string | undefined> {
  try {
    const args = ['bitmap', '--remove', '-f', 'qcow2', '--', path, bitmap];
    const { code, stderr } = await host.run('qemu-img', args);
    return code === 0 || /not found|no bitmap/i.test(stderr) ? undefined : stderr;
  } catch (error) {
    if (error instanceof NbdeltaError) return errorLine(error);
    throw error;
  }
}
