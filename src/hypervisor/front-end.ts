import type { SessionRecord } from './session-record.js';
import type { SourceKind } from './source.js';

/** Why something is as it is: a stable code for programs, a sentence for people. */
export interface Reason {
  readonly code: string;
  readonly text: string;
}

/** A guest as the hypervisor describes it, before anything is begun. */
export interface Guest {
  readonly kind: SourceKind;
  /** What the hypervisor calls it; the default name of the machine. */
  readonly name: string;
  /** Its uuid. */
  readonly id: string | null;
  readonly state: 'running' | 'paused' | 'off';
  /** Those that will be backed up. */
  readonly disks: readonly GuestDisk[];
  /** Those that will not, and why: `excluded`, `cdrom`, `empty` … */
  readonly skipped: readonly { readonly name: string; readonly reason: Reason }[];
  /** Versions, e.g. `{ libvirt: '9.0.0', qemu: '7.2.22' }`. */
  readonly versions: Readonly<Record<string, string>>;
}

export interface GuestDisk {
  readonly name: string;
  /** Bytes that the guest sees. */
  readonly size: number;
  readonly format: string;
  /** What stays the same of it from backup to backup, without credentials. */
  readonly source: string | null;
  /** Why no bitmap can be kept on it (raw, network); `null` when one can. */
  readonly noBitmap: Reason | null;
}

/** Which disks; names as in {@link GuestDisk}. @throws UsageError when one is unknown. */
export interface DiskSelection {
  /** Only these. */
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
}

/** A committed checkpoint that an incremental may be taken since. */
export interface BaseCheckpoint {
  readonly name: string;
  /** What libvirt forgets: the checkpoint's XML as the point keeps it. */
  readonly definition: string | undefined;
}

export interface BeginRequest {
  /** See `run-name.ts`; the new checkpoint's name as well. */
  readonly run: string;
  readonly selection: DiskSelection;
  /** Newest first; the first that still exists is taken. Empty: everything is read. */
  readonly bases: readonly BaseCheckpoint[];
  /** Whether a new checkpoint begins with the job: not for a copy. */
  readonly checkpoint: boolean;
  /** Freeze the guest's file systems around the beginning. */
  readonly quiesce: QuiesceRequest | undefined;
  /** Whether the job is to outlive this process: a session's is, a backup's need not. */
  readonly lasting: boolean;
  /** Called before anything is made, and whenever the record changes: writes the journal. */
  readonly journal: (record: SessionRecord) => Promise<void>;
  readonly signal: AbortSignal | undefined;
}

export interface QuiesceRequest {
  /** How long the guest agent may take. Milliseconds. */
  readonly timeoutMs: number;
  /** Only these mount points; all without. */
  readonly mountpoints?: readonly string[] | undefined;
}

/** Something that was put right, or left on purpose. */
export interface Action {
  readonly what:
    | 'job-ended'
    | 'checkpoint-deleted'
    | 'checkpoint-redefined'
    | 'bitmap-removed'
    | 'export-removed'
    | 'server-stopped'
    | 'node-removed'
    | 'process-ended'
    | 'file-removed'
    | 'guest-resumed'
    | 'guest-thawed'
    | 'left';
  /** The thing: a checkpoint, a path, a node … */
  readonly name: string;
  /** One sentence; for `left` also why, and what to do. */
  readonly text: string;
}

/** A small file that defines the guest: `domain.xml`, `nvram.fd`, `checkpoint.xml`. */
export interface GuestFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What a doctor says of one thing. */
export interface Finding {
  /**
   * Stable: `libvirt-version`, `bitmap`, `scratch-space` … Two of them decide the verdict: `disk` is `ok` for one that
   * can keep a bitmap and a `warning` for one that cannot; `guest-agent` is `ok` when it answers.
   */
  readonly id: string;
  /** `problem`: no backup goes as long as it is there. */
  readonly status: 'ok' | 'info' | 'warning' | 'problem';
  /** What was seen. */
  readonly text: string;
  /** What to do about it; with `warning` and `problem`. */
  readonly fix?: string;
  readonly disk?: string;
}

export interface SweepRequest {
  /** Whose leftovers: see `ownerTag`; `undefined`: those of every owner, because somebody insists. */
  readonly owner: string | undefined;
  /** Committed checkpoints that must stay, with what libvirt may have forgotten of them. */
  readonly keep: readonly BaseCheckpoint[];
  /** Whether a run may still be alive: then nothing of it is touched. */
  readonly isAlive: (run: string) => boolean;
}

/**
 * One way to drive backup jobs. Every implementation passes the same suite: `test/conformance`.
 * All methods may be called in any order and by another process than the one that began; ending twice is fine.
 */
export interface FrontEnd extends AsyncDisposable {
  readonly kind: SourceKind;
  /** Looks, and changes nothing. @throws HypervisorError GUEST_UNKNOWN, HYPERVISOR_…; UsageError for the selection. */
  inspect(selection: DiskSelection): Promise<Guest>;
  /**
   * Starts the job and, in the same instant, its checkpoint. When it rejects, nothing of the run is left (or the
   * error's message says what), and a guest that was frozen is thawed.
   */
  begin(request: BeginRequest): Promise<SessionRecord>;
  /**
   * Resolves when the very job of the record runs and is healthy; reads before it then were of its point in time.
   * @throws HypervisorError JOB_LOST.
   */
  health(record: SessionRecord): Promise<void>;
  /**
   * Watches a running job until disposed: calls `onTrouble` once, with JOB_LOST or SCRATCH_FULL, when it must not
   * go on. What is read after that is discarded by the caller.
   */
  watch(record: SessionRecord, onTrouble: (error: Error) => void): Disposable;
  /**
   * Ends the job: exports first, then the job, then scratch files and folders. All NBD clients must be closed.
   * `abort` also removes the record's checkpoint; `commit` keeps it. Committed checkpoints are never touched.
   */
  end(record: SessionRecord, outcome: 'commit' | 'abort'): Promise<readonly Action[]>;
  /** Removes checkpoints that nothing needs any more; those that are gone already are passed over. */
  dropCheckpoints(names: readonly string[]): Promise<readonly Action[]>;
  /** Names of the checkpoints that nbdelta made here, whoever owns them, oldest first. */
  listCheckpoints(): Promise<readonly string[]>;
  /** Ends what dead runs of this owner left, found by its names alone. Never touches anybody else's. */
  sweep(request: SweepRequest): Promise<readonly Action[]>;
  /** What defines the guest, and the checkpoint of the record as the hypervisor keeps it. */
  readFiles(record: SessionRecord): Promise<readonly GuestFile[]>;
  /** What can be backed up here and how; changes nothing and does not throw for what is wrong with the guest. */
  examine(selection: DiskSelection): AsyncIterable<Finding>;
}
