import type { Finding } from '../../front-end.js';
import { parseRunName } from '../../run-name.js';
import { type Checkpoint, parseCheckpoint } from '../checkpoint-xml.js';
import type { DomainView } from './domain-view.js';

/** Checkpoints of this guest: nbdelta's by their owners, others by name, each with the health of its bitmaps. */
export async function* examineCheckpoints({
  connection,
  domain,
  state,
}: DomainView): AsyncGenerator<Finding> {
  const names = await connection.checkpoints(domain.uuid);
  const isRunning = state.state !== 'off';
  const checkpoints: Checkpoint[] = [];
  for (const name of names) {
    // QEMU knows the bitmaps; of a domain that is off libvirt has the names alone.
    const options = {
      checkpointname: name,
      'no-domain': true,
      size: isRunning,
    };
    checkpoints.push(
      parseCheckpoint(await connection.virsh.domain(domain.uuid, 'checkpoint-dumpxml', { options })),
    );
  }
  yield* judgeCheckpoints(checkpoints, isRunning);
}

/** @param isMeasured whether sizes were asked for: a bitmap without one is then missing or inconsistent. */
export function judgeCheckpoints(
  checkpoints: readonly Checkpoint[],
  isMeasured: boolean,
): readonly Finding[] {
  if (checkpoints.length === 0) {
    return [
      { id: 'checkpoints', status: 'info', text: 'no checkpoint yet: the first backup reads everything' },
    ];
  }
  const broken = isMeasured ? checkpoints.flatMap(brokenBitmaps) : [];
  return [...summaries(checkpoints), ...broken];
}

function summaries(checkpoints: readonly Checkpoint[]): readonly Finding[] {
  const ownerOf = ({ name }: Checkpoint) => parseRunName(name)?.owner;
  const owners = [...new Set(checkpoints.map(ownerOf))];
  return owners.map(owner =>
    summary(
      owner,
      checkpoints.filter(checkpoint => ownerOf(checkpoint) === owner),
    ),
  );
}

function summary(owner: string | undefined, list: readonly Checkpoint[]): Finding {
  const id = 'checkpoints';
  if (owner !== undefined) {
    return {
      id,
      status: 'ok',
      text: `${list.length} of nbdelta (owner ${owner}); ${describe(list.at(-1)!)}`,
    };
  }
  return {
    id,
    status: 'info',
    text: `somebody else's, never touched: ${list.map(({ name }) => name).join(', ')}`,
  };
}

function describe({ name, disks }: Checkpoint): string {
  const sizes = disks.flatMap(({ name: disk, size }) => (size === undefined ? [] : [`${disk} ${size}`]));
  return sizes.length === 0 ? `the newest is ${name}` : `since ${name} changed (bytes): ${sizes.join(', ')}`;
}

function brokenBitmaps({ name, disks }: Checkpoint): readonly Finding[] {
  const isOurs = parseRunName(name) !== undefined;
  const broken = disks.filter(({ bitmap, size }) => bitmap !== undefined && size === undefined);
  return broken.map(({ name: disk, bitmap }) => ({
    ...{ id: 'bitmap', status: isOurs ? 'warning' : 'info', disk },
    text: `checkpoint ${name}: bitmap ${bitmap} is missing or inconsistent`,
    ...(isOurs && {
      fix: 'nothing: the next backup reads this disk whole, says why, and begins a new bitmap',
    }),
  }));
}
