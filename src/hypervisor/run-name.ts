import { createHash, randomBytes } from 'node:crypto';

/**
 * The name of one run, and of everything that it makes in a hypervisor: checkpoint, bitmap, job, scratch files.
 * `nbdelta-OWNER-TIME-RANDOM`: the owner tells the runs of one repository's machine from all others, time and
 * random make that no two collide (RHBZ 1817327: a counter does, with what a crash left behind). It is what a
 * later run recognises leftovers by when everything else is lost.
 */
export interface RunName {
  readonly text: string;
  /** 8 hex digits; see {@link ownerTag}. */
  readonly owner: string;
  /** When the run began. */
  readonly startedAt: Date;
  /** 8 hex digits; enough for names that must be short, such as QEMU's node names (31 bytes). */
  readonly random: string;
}

const RUN_NAME = /^nbdelta-([0-9a-f]{8})-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-([0-9a-f]{8})$/;

/** The tag of whoever owns what a run makes: a machine in a repository, or a vendor's sessions. */
export function ownerTag(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 8);
}

export function newRunName(owner: string, now = new Date()): RunName {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, '');
  const random = randomBytes(4).toString('hex');
  return parseRunName(`nbdelta-${owner}-${time}-${random}`)!;
}

/** The parts of a run's name, or `undefined` when nbdelta did not give it. */
export function parseRunName(text: string): RunName | undefined {
  const [, owner, year, month, day, hour, minute, second, random] = RUN_NAME.exec(text) ?? [];
  if (owner === undefined || random === undefined) return undefined;
  const startedAt = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(startedAt.getTime())) return undefined;
  return { text, owner, startedAt, random };
}

/** The run's name that begins `text`, when something stands behind it: `nbdelta-…-vda.qcow2`. */
export function findRunName(text: string): RunName | undefined {
  return parseRunName(text.slice(0, 'nbdelta-00000000-00000000T000000Z-00000000'.length));
}
