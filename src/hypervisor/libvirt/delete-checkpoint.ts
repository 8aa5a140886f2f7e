import { errorLine, NbdeltaError } from '../../errors.js';
import type { Action } from '../front-end.js';
import { adaptForRedefinition, parseCheckpoint } from './checkpoint-xml.js';
import type { Domain } from './domain-xml.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { wordsOf } from './virsh-error.js';

/**
 * Deletes a checkpoint with its bitmaps. Where one of them is missing, or the domain is off, libvirt (9.0) deletes
 * none of it. Then it is told that the checkpoint never had the missing one, or the bitmaps are removed from the
 * images of the domain that is off; what stays all the same is said.
 */
export async function deleteCheckpoint(
  connection: LibvirtConnection,
  domain: Domain,
  name: string,
): Promise<readonly Action[]> {
  const deletion = new Deletion(connection, domain, name);
  const deleted: Action = { what: 'checkpoint-deleted', name, text: `checkpoint ${name} was deleted` };
  try {
    await deletion.deleteWhole();
    return [deleted];
  } catch (error) {
    if (isGone(error)) return [];
    if (domain.id === undefined) return [deleted, ...(await deletion.deleteOff())];
    if (missingIn(error) === undefined) throw error;
    return [deleted, ...(await deletion.deleteWithout(error))];
  }
}

function isGone(error: unknown): boolean {
  return /checkpoint not found|no domain checkpoint with matching name/i.test(wordsOf(error));
}

/** The disk on which libvirt finds no bitmap that it should delete. */
function missingIn(error: unknown): string | undefined {
  return /not found in backing chain of '([^']*)'/i.exec(wordsOf(error))?.[1];
}

class Deletion {
  readonly #connection: LibvirtConnection;
  readonly #domain: Domain;
  readonly #name: string;

  constructor(connection: LibvirtConnection, domain: Domain, name: string) {
    this.#connection = connection;
    this.#domain = domain;
    this.#name = name;
  }

  async deleteWhole(): Promise<void> {
    await this.#virsh('checkpoint-delete', {});
  }

  /** Deletes what there is, of a running domain; disk by disk as libvirt finds a bitmap missing. */
  async deleteWithout(first: unknown): Promise<readonly Action[]> {
    const without: string[] = [];
    for (let error = first; ; ) {
      const disk = missingIn(error);
      if (disk === undefined || without.includes(disk)) throw error;
      without.push(disk);
      if (!(await this.#redefine(without))) {
        await this.#forget();
        return [];
      }
      try {
        await this.deleteWhole();
        return [];
      } catch (next) {
        error = next;
      }
    }
  }

  /** Deletes a checkpoint of a domain that is off. */
  async deleteOff(): Promise<readonly Action[]> {
    const dump = await this.#virsh('checkpoint-dumpxml', { 'no-domain': true });
    const actions: Action[] = [];
    for (const { name: target, bitmap } of parseCheckpoint(dump).disks) {
      const path = this.#domain.disks.find(disk => disk.target === target)?.path;
      if (bitmap === undefined || path === undefined) continue;
      const problem = await removeFromImage(this.#connection, path, bitmap);
      if (problem !== undefined) actions.push(stays(path, bitmap, problem));
    }
    await this.#forget();
    return actions;
  }

  /** Whether any bitmap of it is left then. In place: a checkpoint that is forgotten first could be lost for good. */
  async #redefine(without: readonly string[]): Promise<boolean> {
    const { virsh } = this.#connection;
    const { uuid } = this.#domain;
    const known = {
      checkpoints: await this.#connection.checkpoints(uuid),
      disks: this.#domain.disks.map(disk => disk.target),
    };
    const dump = await this.#virsh('checkpoint-dumpxml', {});
    const { xml, disks } = adaptForRedefinition(dump, known, without);
    if (disks.length === 0) return false;
    await virsh.domain(uuid, 'checkpoint-create', {
      options: { redefine: true },
      documents: { xmlfile: xml },
    });
    return true;
  }

  async #forget(): Promise<void> {
    await this.#virsh('checkpoint-delete', { metadata: true });
  }

  async #virsh(command: string, options: Readonly<Record<string, true>>): Promise<string> {
    const { virsh } = this.#connection;
    return await virsh.domain(this.#domain.uuid, command, {
      options: { checkpointname: this.#name, ...options },
    });
  }
}

function stays(path: string, bitmap: string, why: string): Action {
  const text = `bitmap ${bitmap} stays in ${path} (${why}); with the guest off: qemu-img bitmap --remove`;
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
    return code === 0 || /not found/i.test(stderr) ? undefined : stderr;
  } catch (error) {
    if (error instanceof NbdeltaError) return errorLine(error);
    throw error;
  }
}
