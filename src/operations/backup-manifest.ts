import type { NbdClient } from '../nbd/client/client.js';
import type { LevelPlan } from '../repository/level.js';
import type { MachineRecord } from '../repository/machine-record.js';
import type { KeptLeftover } from '../repository/machine-store.js';
import type { DiskEntry, Manifest } from '../repository/manifest.js';
import type { PointList } from '../repository/point-list.js';
import { nextSequence } from '../repository/point-order.js';
import type { CheckedOptions } from './backup-options.js';
import { readSoftware } from './software.js';

export type Warning = Manifest['warnings'][number];

/** What is known before the first byte is read. */
export interface Preparation {
  readonly list: PointList;
  readonly plan: LevelPlan;
  /** Leftovers of killed runs that were not removed. */
  readonly kept: readonly KeptLeftover[];
}

/** Everything that a new point's manifest says. */
export interface ManifestParts {
  readonly id: string;
  readonly startedAt: Date;
  readonly before: Preparation;
  readonly record: MachineRecord;
  readonly options: CheckedOptions;
  readonly disks: readonly DiskEntry[];
  readonly files: Manifest['files'];
  /** What was noticed while the disks were compared. */
  readonly compared: readonly Warning[];
  /** In the order of `options.disks`. */
  readonly clients: readonly NbdClient[];
}

/** Puts the manifest of a new point together. */
export function buildManifest(parts: ManifestParts): Manifest {
  const { id, startedAt, record, options, disks, files } = parts;
  const { list, plan } = parts.before;
  return {
    format: 'nbdelta-point',
    version: 1,
    features: [],
    id,
    sequence: nextSequence(list.points, record.sequence),
    machine: { name: options.machine, id: record.id },
    ...(options.guest && { guest: options.guest }),
    created: startedAt.toISOString(),
    level: plan.level,
    reason: plan.reason,
    parent: plan.parent,
    since: plan.since,
    checkpoint: options.checkpoint ?? null,
    partial: disks.some(disk => disk.status === 'failed'),
    replaces: [],
    standsFor: [],
    disks,
    files,
    statistics: statisticsOf(startedAt, disks),
    warnings: warningsOf(parts),
    software: readSoftware(),
  };
}

function statisticsOf(startedAt: Date, disks: readonly DiskEntry[]): Manifest['statistics'] {
  const archives = disks.flatMap(disk => (disk.status === 'stored' ? [disk.archive] : []));
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    startedAt: startedAt.toISOString(),
    finishedAt: new Date().toISOString(),
    readBytes: sum(disks.map(disk => disk.readBytes)),
    storedBytes: sum(archives.map(archive => archive.storedBytes)),
    dataBytes: sum(archives.map(archive => archive.dataBytes)),
    zeroBytes: sum(archives.map(archive => archive.zeroBytes)),
  };
}

function warningsOf({ before, options, disks, compared, clients }: ManifestParts): Warning[] {
  const failed = disks.flatMap(disk =>
    disk.status === 'failed'
      ? [{ code: 'disk-failed', text: `disk ${disk.name}: ${disk.error.message}` }]
      : [],
  );
  const reconnected = clients.flatMap((client, index) =>
    client.reconnects === 0 ? [] : [reconnectWarning(options.disks[index]!.name, client.reconnects)],
  );
  return [
    ...before.kept.map(leftoverWarning),
    ...(options.warnings ?? []),
    ...compared,
    ...failed,
    ...reconnected,
  ];
}

/** The export looked the same after the reconnect, but only the job's owner can know that it is the same job. */
function reconnectWarning(disk: string, times: number): Warning {
  const text = `disk ${disk}: connection lost and opened again ${times} times; make sure the backup job was the same throughout`;
  return { code: 'reconnected', text };
}

function leftoverWarning({ id, why }: KeptLeftover): Warning {
  return {
    code: 'leftover-kept',
    text: `the folder of point ${id}, which has no manifest, was kept: ${why}`,
  };
}
