import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import type { MachineLock } from '../../repository/lock.js';
import { type MachineStore, RESUME_NAME } from '../../repository/machine-store.js';
import { pointTimeMs } from '../../repository/point-id.js';
import type { PointWriter } from '../../repository/point-writer.js';
import { readSoftware } from '../software.js';
import type { MergePointsOptions } from './merge-points.js';

/** What a merge is going to write: with the same journal the same bytes come out again. */
const journalSchema = z.object({
  format: z.literal('nbdelta-resume'),
  version: z.literal(1),
  operation: z.literal('merge'),
  software: z.string(),
  points: z.array(z.object({ id: z.string(), manifestSha256: z.string() })),
  intoFull: z.boolean(),
  /** By disk: the id of the archive that is being written. */
  archives: z.record(z.string(), z.string().regex(/^[0-9a-f]{32}$/)),
});

type MergeJournal = z.output<typeof journalSchema>;

/** The folder of a merged point, new or gone on with. */
export interface MergedFolder {
  readonly writer: PointWriter;
  readonly archives: Readonly<Record<string, string>>;
}

/** Goes on where the same merge was interrupted, or begins it. */
export async function openMergedFolder(options: MergePointsOptions): Promise<MergedFolder> {
  const { machine, lock, path } = options;
  const journal = newJournal(options);
  const suspended = await findSuspended(machine, lock, journal);
  if (suspended !== null) return suspended;
  // Of the same time as what it stands for: that is when its content was taken.
  const now = new Date(pointTimeMs(path.points.at(-1)!.manifest.id));
  const writer = await machine.beginPoint(lock, { now });
  await writer.putFile(RESUME_NAME, new TextEncoder().encode(`${JSON.stringify(journal, null, 2)}\n`));
  return { writer, archives: journal.archives };
}

function newJournal({ path, intoFull }: MergePointsOptions): MergeJournal {
  const disks = path.points.at(-1)!.manifest.disks;
  const archives = disks.map(({ name }) => [name, randomBytes(16).toString('hex')] as const);
  return {
    ...{ format: 'nbdelta-resume', version: 1, operation: 'merge', software: readSoftware().version },
    points: path.points.map(({ manifest, sha256 }) => ({ id: manifest.id, manifestSha256: sha256 })),
    intoFull,
    archives: Object.fromEntries(archives),
  };
}

async function findSuspended(
  machine: MachineStore,
  lock: MachineLock,
  wanted: MergeJournal,
): Promise<MergedFolder | null> {
  for (const { id, journal } of await machine.listResumable()) {
    const found = decodeJournal(journal);
    if (found === null || !isSamePlan(found, wanted)) continue;
    return { writer: await machine.resumePoint(lock, id), archives: found.archives };
  }
  return null;
}

/** `null`: damaged, or of something else; then nobody goes on with it. */
function decodeJournal(bytes: Uint8Array): MergeJournal | null {
  try {
    return journalSchema.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8'))).data ?? null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function isSamePlan(found: MergeJournal, wanted: MergeJournal): boolean {
  const names = (journal: MergeJournal) => Object.keys(journal.archives).sort().join('\n');
  const plan = ({ archives: _, ...rest }: MergeJournal) => JSON.stringify(rest);
  return plan(found) === plan(wanted) && names(found) === names(wanted);
}
