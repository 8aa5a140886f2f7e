import { errorLine } from '../errors.js';
import type { MachineStore } from '../repository/machine-store.js';
import type { Manifest } from '../repository/manifest.js';
import type { Repository } from '../repository/repository.js';
import type { Verdict } from '../repository/verdict.js';
import { useRepository } from './open-repository.js';
import { describePins, type PointPin, readPointPin } from './pin.js';

/** A machine and its points, as `list` shows them. */
export interface MachineListing {
  readonly machine: string;
  readonly id: string | null;
  /** By sequence, oldest first. */
  readonly points: readonly Manifest[];
  /** By point: what the last verification found. */
  readonly verdicts: Readonly<Record<string, Verdict>>;
  /** Points that stay whatever a policy says, by id. */
  readonly pins: readonly PointPin[];
  /** Points that cannot be read, with why. */
  readonly unreadable: readonly { readonly id: string; readonly code: string; readonly message: string }[];
  /** Folders of points that were never committed: a backup runs, or was cut off. */
  readonly incomplete: readonly string[];
}

/** Lists one machine, or all machines of a repository. Reads manifests only. */
export async function listPoints(options: {
  readonly repository: string | Repository;
  readonly machine?: string | undefined;
}): Promise<MachineListing[]> {
  const repository = await useRepository(options.repository);
  const names = options.machine === undefined ? await repository.listMachines() : [options.machine];
  const listings: MachineListing[] = [];
  for (const name of names) {
    const machine = await repository.openMachine(name);
    const { points, unreadable } = await machine.listPoints();
    listings.push({
      machine: name,
      id: (await machine.readRecord())?.id ?? null,
      points: points.map(point => point.manifest),
      verdicts: await readVerdicts(
        machine,
        points.map(point => point.manifest.id),
      ),
      pins: describePins(await machine.readPins(points.map(point => point.manifest.id))),
      unreadable: unreadable.map(({ id, error }) => ({ id, code: error.code, message: errorLine(error) })),
      incomplete: await machine.listIncomplete(),
    });
  }
  return listings;
}

async function readVerdicts(machine: MachineStore, ids: readonly string[]): Promise<Record<string, Verdict>> {
  const verdicts: Record<string, Verdict> = {};
  for (const id of ids) {
    const verdict = await machine.readVerdict(id);
    if (verdict !== null) verdicts[id] = verdict;
  }
  return verdicts;
}

/** A point, and whether it is pinned. */
export interface ShownPoint {
  readonly machine: string;
  readonly point: Manifest;
  readonly pin: PointPin | null;
  readonly manifestSha256: string;
}

/** One point, resolved from `MACHINE[@POINT]`. */
export async function showPoint(options: {
  readonly repository: string | Repository;
  readonly point: string;
}): Promise<ShownPoint> {
  const repository = await useRepository(options.repository);
  const { machine, point } = await repository.resolve(options.point);
  const pin = await readPointPin(machine, point.manifest.id);
  return { machine: machine.name, point: point.manifest, pin, manifestSha256: point.sha256 };
}
