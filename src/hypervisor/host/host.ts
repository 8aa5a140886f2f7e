import type { ProgramResult, RunOptions } from './run-program.js';

/** The machine that the hypervisor runs on: this one, or another one over ssh. Paths are its own. */
export interface Host extends AsyncDisposable {
  /** `local`, or ssh's destination. */
  readonly name: string;
  readonly isLocal: boolean;
  /** Runs a program there. An exit code is a result. */
  run(program: string, args: readonly string[], options?: RunOptions): Promise<ProgramResult>;
  /**
   * Makes a new private folder for a socket under `base` (made too when missing): only `owner` and we can enter.
   * @throws HypervisorError HYPERVISOR_DENIED when we may not give it to `owner`.
   */
  makePrivateFolder(base: string, name: string, owner: HostUser | undefined): Promise<string>;
  /** Removes a folder of ours with the files and sockets in it; it has no folders. Safe twice. */
  removeFolder(path: string): Promise<void>;
  /** Removes a file. Whether it was there. */
  removeFile(path: string): Promise<boolean>;
  /** Names of what is in a folder, in no order; none when there is no such folder. */
  listFolder(path: string): Promise<readonly string[]>;
  /** `undefined` when there is no such file. @throws when it is longer than `maxBytes`. */
  readFile(path: string, maxBytes: number): Promise<Uint8Array | undefined>;
  exists(path: string): Promise<boolean>;
  /** Free bytes for an ordinary user, where `path` is. */
  freeBytes(path: string): Promise<number>;
  /**
   * The local path of a socket that reaches the host's unix socket `path`. It stays when this process ends, until
   * {@link unforward}. Locally: `path` itself.
   */
  forward(path: string, localFolder: string): Promise<string>;
  /** Ends a forward, known by the folder that it was given. Safe twice. */
  unforward(localFolder: string): Promise<void>;
}

/** A user of the host, by number. */
export interface HostUser {
  readonly uid: number;
  readonly gid: number;
}
