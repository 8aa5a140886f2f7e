import { errorLine } from '../../errors.js';
import type { Action, BaseCheckpoint, SweepRequest } from '../front-end.js';
import { parseRunName } from '../run-name.js';
import { deleteCheckpoint } from './delete-checkpoint.js';
import type { Domain } from './domain-xml.js';
import { abortJob, resumeAfterError } from './end-job.js';
import type { LibvirtConnection } from './libvirt-connection.js';
import { sweepOff } from './off-domain.js';
import { redefineCheckpoint } from './redefine-checkpoint.js';
import { sweepFiles } from './sweep-files.js';

/**
 * Ends what dead runs of an owner left at a domain, by its names alone: the job, checkpoints that never counted,
 * scratch files, folders. Checkpoints that count and that libvirt forgot are made known again.
 */
export async function sweepDomain(
  connection: LibvirtConnection,
  name: string,
  request: SweepRequest,
): Promise<readonly Action[]> {
  const { owner, keep, isAlive } = request;
  const domain = await connection.domain(name);
  const isDead = (text: string) => {
    const run = parseRunName(text);
    return run !== undefined && (owner === undefined || run.owner === owner) && !isAlive(text);
  };
  const actions: Action[] = [];
  if (domain.id !== undefined) {
    actions.push(...(await endDeadJob(connection, domain, isDead)));
    actions.push(...(await redefineForgotten(connection, domain, keep)));
  } else {
    actions.push(...(await sweepOff(connection, domain, request)));
  }
  const kept = new Set(keep.map(base => base.name));
  actions.push(...(await deleteDead(connection, domain, text => isDead(text) && !kept.has(text))));
  actions.push(...(await sweepFiles(connection, isDead)));
  return actions;
}

async function endDeadJob(
  connection: LibvirtConnection,
  { uuid, name }: Domain,
  isDead: (run: string) => boolean,
): Promise<readonly Action[]> {
  const backup = await connection.backup(uuid);
  const run = backup?.runs.find(isDead);
  if (run === undefined) return [];
  await abortJob(connection, uuid, name);
  const ended: Action = { what: 'job-ended', name: run, text: `the job of ${run}, which died, was ended` };
  // A full scratch, which nobody watched any more, stops the guest.
  const resumed = await resumeAfterError(connection, uuid, name);
  return resumed === undefined ? [ended] : [ended, resumed];
}

/** From base to leaf: a child is taken with its parent only where that is known. */
async function redefineForgotten(
  connection: LibvirtConnection,
  domain: Domain,
  keep: readonly BaseCheckpoint[],
): Promise<readonly Action[]> {
  const known = [...(await connection.checkpoints(domain.uuid))];
  const actions: Action[] = [];
  for (const { name, definition } of keep.toSorted((a, b) => beganAt(a.name) - beganAt(b.name))) {
    if (definition === undefined || known.includes(name)) continue;
    const { done, text } = await redefineCheckpoint(connection, domain, known, name, definition);
    // One that cannot be is no fault here: the next backup says what it has to read instead.
    if (!done) continue;
    known.push(name);
    actions.push({ what: 'checkpoint-redefined', name, text });
  }
  return actions;
}

function beganAt(name: string): number {
  return parseRunName(name)?.startedAt.getTime() ?? 0;
}

async function deleteDead(
  connection: LibvirtConnection,
  domain: Domain,
  isDead: (name: string) => boolean,
): Promise<readonly Action[]> {
  const actions: Action[] = [];
  for (const name of (await connection.checkpoints(domain.uuid)).filter(isDead)) {
    try {
      actions.push(...(await deleteCheckpoint(connection, domain, name)));
    } catch (error) {
      actions.push({
        what: 'left',
        name,
        text: `checkpoint ${name} could not be deleted: ${errorLine(error)}`,
      });
    }
  }
  return actions;
}
