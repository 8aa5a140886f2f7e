import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BackupResult, backup } from '../backup.js';
import { type ExportMap, mapExport } from '../map-export.js';
import type { ProgressListener } from '../progress.js';
import { type RestoreResult, restore } from '../restore.js';
import { DEMO_CONTENT, planChanges } from './demo-content.js';
import { type Comparison, DEMO_BITMAP, type DemoStage, type RememberedState } from './demo-stage.js';
import { openMemoryStage } from './memory-stage.js';
import { openQemuStage } from './qemu-stage.js';

const MACHINE = 'web1';

/** One thing that the demo has just done. */
export type DemoEvent =
  | { readonly kind: 'disk'; readonly about: string; readonly content: string; readonly size: number }
  | ({ readonly kind: 'backup'; readonly uri: string; readonly repository: string } & DemoBackup)
  | { readonly kind: 'change'; readonly lines: readonly string[] }
  | ({ readonly kind: 'restore' } & DemoRestore);

export interface DemoBackup {
  readonly map: ExportMap;
  readonly result: BackupResult;
}

export interface DemoRestore {
  readonly to: string;
  readonly result: RestoreResult;
  readonly comparison: Comparison;
}

export interface DemoOptions {
  /** Use real QEMU programs instead of nbdelta's own server. */
  readonly qemu?: boolean | undefined;
  /** Leave the repository and the restored images where they are. */
  readonly keep?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: DemoEvent) => void | Promise<void>) | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

export interface DemoResult {
  /** Whether every restored image was the same as the disk at its time. */
  readonly ok: boolean;
  /** Folder with the repository and the restored images; gone unless `keep` was said. */
  readonly folder: string;
  readonly repository: string;
  readonly kept: boolean;
  readonly backups: readonly BackupResult[];
  readonly restores: readonly DemoRestore[];
  readonly elapsedMs: number;
}

/**
 * The main job from end to end, on a disk of its own: a full, changes, an incremental, both points restored and
 * compared with what the disk held at the time.
 */
export async function runDemo(options: DemoOptions = {}): Promise<DemoResult> {
  const started = performance.now();
  const folder = await mkdtemp(join(await realpath(tmpdir()), 'nbdelta-demo-'));
  try {
    const open = options.qemu ? openQemuStage : openMemoryStage;
    await using stage = await open(folder);
    const done = await new DemoRun(options, stage, folder).run();
    return { ...done, folder, kept: options.keep === true, elapsedMs: performance.now() - started };
  } finally {
    if (!options.keep) await rm(folder, { recursive: true, force: true });
  }
}

class DemoRun {
  readonly #options: DemoOptions;
  readonly #stage: DemoStage;
  readonly #folder: string;
  readonly #repository: string;

  constructor(options: DemoOptions, stage: DemoStage, folder: string) {
    this.#options = options;
    this.#stage = stage;
    this.#folder = folder;
    this.#repository = join(folder, 'repository');
  }

  async run(): Promise<Pick<DemoResult, 'ok' | 'repository' | 'backups' | 'restores'>> {
    const { about, size } = this.#stage;
    await this.#tell({ kind: 'disk', about, content: DEMO_CONTENT, size });
    const before = await this.#stage.remember();
    const full = await this.#backup('monday');
    await this.#stage.change();
    await this.#tell({ kind: 'change', lines: planChanges().lines });
    const after = await this.#stage.remember();
    const incremental = await this.#backup('tuesday', 'monday');
    await mkdir(join(this.#folder, 'restored'));
    const restores = [
      ...(await this.#restore(full, 'monday', before)),
      ...(await this.#restore(incremental, 'tuesday', after)),
    ];
    const ok = restores.every(({ comparison }) => comparison.same);
    return { ok, repository: this.#repository, backups: [full, incremental], restores };
  }

  async #backup(checkpoint: string, since?: string): Promise<BackupResult> {
    const { signal, onProgress } = this.#options;
    const bitmap = since === undefined ? undefined : DEMO_BITMAP;
    await using published = await this.#stage.publish(bitmap !== undefined);
    const { uri } = published;
    const map = await mapExport(uri, { bitmap, signal });
    const result = await backup({
      ...{ repository: this.#repository, machine: MACHINE, disks: [{ name: 'vda', uri, bitmap }] },
      ...{ checkpoint, since, signal, onProgress },
    });
    await this.#tell({ kind: 'backup', uri, repository: this.#repository, map, result });
    return result;
  }

  async #restore(point: BackupResult, name: string, state: RememberedState): Promise<DemoRestore[]> {
    const { signal, onProgress } = this.#options;
    const done: DemoRestore[] = [];
    for (const format of this.#stage.formats) {
      const to = join(this.#folder, 'restored', `${name}.${format}`);
      const spec = `${MACHINE}@${point.point.id}`;
      const result = await restore({
        ...{ repository: this.#repository, point: spec, disk: 'vda', to, format },
        ...{ signal, onProgress },
      });
      const restored = { to, result, comparison: await state.compare(to, format) };
      await this.#tell({ kind: 'restore', ...restored });
      done.push(restored);
    }
    return done;
  }

  async #tell(event: DemoEvent): Promise<void> {
    await this.#options.onEvent?.(event);
  }
}
