import type { DiskEntry, Manifest, Point, StoredDisk } from '../../repository/manifest.js';
import { STANDS_FOR } from '../../repository/manifest-schema.js';
import { readSoftware } from '../software.js';

export interface MergedManifestParts {
  readonly id: string;
  readonly startedAt: Date;
  /** Oldest first; see `MergePath`. */
  readonly points: readonly Point[];
  readonly replaced: readonly string[];
  /** What the merged point builds on; `null`: it begins a chain. */
  readonly parent: Point | null;
  readonly disks: readonly DiskEntry[];
  readonly readBytes: number;
}

/** The manifest of a merged point: all that people and children know of the newest point is true of it. */
export function mergedManifest(parts: MergedManifestParts): Manifest {
  const { id, points, replaced, parent, disks } = parts;
  const [oldest, newest] = [points[0]!.manifest, points.at(-1)!.manifest];
  return {
    ...newest,
    id,
    features: [STANDS_FOR],
    level: parent === null ? 'full' : deltaLevel(oldest),
    reason: { code: 'merged', text: reasonText(points) },
    parent: parent && { id: parent.manifest.id, manifestSha256: parent.sha256 },
    since: parent === null ? { kind: 'none', label: null, point: null } : oldest.since,
    replaces: [...replaced, ...newest.standsFor.map(entry => entry.id)],
    standsFor: [standInOf(points.at(-1)!), ...newest.standsFor],
    disks,
    statistics: statisticsOf(parts),
    software: readSoftware(),
  };
}

function deltaLevel({ level }: Manifest): 'incremental' | 'differential' {
  return level === 'differential' ? 'differential' : 'incremental';
}

function reasonText(points: readonly Point[]): string {
  const [first, last] = [points[0]!.manifest.id, points.at(-1)!.manifest.id];
  return points.length === 1
    ? `from point ${last} and all before it`
    : `from ${points.length} points, ${first} to ${last}`;
}

function standInOf({ manifest, sha256 }: Point): Manifest['standsFor'][number] {
  const archives = manifest.disks.flatMap(disk =>
    disk.status === 'stored' ? [[disk.name, disk.archive.archiveId] as const] : [],
  );
  return { id: manifest.id, manifestSha256: sha256, archives: Object.fromEntries(archives) };
}

function statisticsOf({ startedAt, disks, readBytes }: MergedManifestParts): Manifest['statistics'] {
  const archives = disks
    .filter((disk): disk is StoredDisk => disk.status === 'stored')
    .map(disk => disk.archive);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    startedAt: startedAt.toISOString(),
    finishedAt: new Date().toISOString(),
    readBytes,
    storedBytes: sum(archives.map(archive => archive.storedBytes)),
    dataBytes: sum(archives.map(archive => archive.dataBytes)),
    zeroBytes: sum(archives.map(archive => archive.zeroBytes)),
  };
}
