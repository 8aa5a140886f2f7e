import type { FrontEndOptions } from '#nbdelta/index.js';

/** A guest whose disks a test can write, and whose hypervisor it can look into. */
export interface GuestHarness extends AsyncDisposable {
  /** `libvirt:web1` …, or one for each disk. */
  readonly source: string | readonly { readonly disk: string; readonly source: string }[];
  readonly options: FrontEndOptions;
  readonly disks: readonly string[];
  /** Bytes of each disk. */
  readonly size: number;
  /** Writes as the guest would; `undefined` length: at least one block of 64 KiB. */
  fill(disk: string, offset: number, length: number, byte: number): Promise<void>;
  /** Everything in the hypervisor that a backup could leave behind, by name: jobs, exports, nodes, bitmaps, files. */
  leftovers(): Promise<readonly string[]>;
  /** Names of checkpoints (bitmaps) on each disk. */
  checkpoints(): Promise<Readonly<Record<string, readonly string[]>>>;
  /** Ends the running backup job as somebody else would, in mid-read. */
  cancelJob(): Promise<void>;
  /** Kills what has the images open for writing (SIGKILL), as a crash would, and starts it again: bitmaps are lost. */
  crash(): Promise<void>;
  /** Grows a disk to `size` bytes. */
  grow(disk: string, size: number): Promise<void>;
  /** Begins a job (or takes the image) as somebody else; backups must refuse, and leave it alone. */
  occupy(): Promise<AsyncDisposable>;
  /** Code of the error while it is occupied. */
  readonly occupied: 'JOB_CONFLICT' | 'IMAGE_IN_USE';
}
