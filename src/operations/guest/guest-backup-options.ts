import { UsageError } from '../../errors.js';
import type { Action, QuiesceRequest } from '../../hypervisor/front-end.js';
import type { FrontEndOptions } from '../../hypervisor/front-end-options.js';
import { parseSource, type Source } from '../../hypervisor/source.js';
import type { BackupOptions } from '../backup-options.js';

export { parseSource };

/** A source of a guest's backup; a bare string is one whose disks name themselves. */
export type GuestSource = string | { readonly disk: string; readonly source: string };

type FromTheJob = 'disks' | 'machine' | 'since' | 'checkpoint' | 'guest' | 'files' | 'warnings';

export interface GuestBackupOptions extends Omit<BackupOptions, FromTheJob>, FrontEndOptions {
  /** `libvirt:DOMAIN`, `qmp:SOCKET`, or an `image:PATH` for each disk. */
  readonly source: GuestSource | readonly GuestSource[];
  /** Name of the guest in the repository; default: what the hypervisor calls it. */
  readonly machine?: string | undefined;
  /** Only these disks. */
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
  /** Freeze the guest's file systems while the job begins. */
  readonly quiesce?: QuiesceRequest | undefined;
  /** Command run before the job begins; when it fails there is no backup. */
  readonly preHook?: string | undefined;
  /** Command run at the end, whatever the end was. */
  readonly postHook?: string | undefined;
  /** Where running jobs are remembered; default `$XDG_STATE_HOME/nbdelta`. */
  readonly stateDir?: string | undefined;
  /** Told of what a dead run left and was put right, before anything else begins. */
  readonly onRecovered?: ((action: Action) => void) | undefined;
  /** What a backup that failed could not remove again; the next one tries, and so does `recover`. */
  readonly onLeft?: ((action: Action) => void) | undefined;
}

export interface ParsedGuestSource {
  readonly disk: string | undefined;
  readonly source: Source;
}

/** @throws UsageError */
export function parseGuestSources(given: GuestBackupOptions['source']): readonly ParsedGuestSource[] {
  const list: readonly GuestSource[] = Array.isArray(given) ? given : [given as GuestSource];
  const sources = list.map(entry =>
    typeof entry === 'string'
      ? { disk: undefined, source: parseSource(entry) }
      : { disk: entry.disk, source: parseSource(entry.source) },
  );
  const named = sources.find(({ disk, source }) => disk !== undefined && source.kind !== 'image');
  if (named !== undefined) {
    throw new UsageError(`${named.source.text} has disks of its own: it cannot be called ${named.disk}`, {
      hint: 'choose among its disks with --disk',
    });
  }
  return sources;
}
