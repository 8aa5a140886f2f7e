/**
 * What a repository needs of the place that holds it: few enough operations that an object store can offer
 * them too. Paths are relative to the repository, separated by `/`, without `.` or `..`; see `storage-path.ts`.
 * Every operation fails with {@link StorageError} unless it says otherwise.
 */
export interface StorageBackend {
  /** Where this is, for messages: a path or a URL without credentials. */
  describe(): string;

  /**
   * A whole small file, or `null` when there is none.
   * @throws StorageError also when the file has more than `maxBytes`: nothing is read then.
   */
  read(path: string, options: { readonly maxBytes: number }): Promise<Uint8Array | null>;

  /** Creates a file that must not exist yet, to be written from start to end. */
  createVolume(path: string): Promise<VolumeSink>;

  /**
   * The same for a file that an interrupted operation may have left: what is appended is compared with what is there, which
   * is kept as far as it is the same, and no longer.
   */
  resumeVolume(path: string): Promise<VolumeSink>;

  /** Opens a file for reads at any offset. */
  openVolume(path: string): Promise<VolumeReader>;

  /**
   * Creates a file with its whole content, or not at all: the commit primitive. Of several callers exactly
   * one gets `true`, and then the file survives a crash. `false`: there is such a file already.
   */
  putExclusive(path: string, bytes: Uint8Array): Promise<boolean>;

  /** Creates or replaces a file in one step: a reader sees the old content or the new, never a mixture. */
  replace(path: string, bytes: Uint8Array): Promise<void>;

  /**
   * Removes a file, but only while its content is exactly `expected`; answers whether it did. Of several
   * callers at most one gets `true`. This is how a stale lock is taken away without taking a fresh one.
   */
  removeIfUnchanged(path: string, expected: Uint8Array): Promise<boolean>;

  /**
   * What a folder holds, by name. A folder that does not exist holds nothing.
   * @param options `sizes`: how large its files are, which may cost a request for each.
   */
  list(path: string, options?: { readonly sizes?: boolean }): Promise<StorageEntry[]>;

  /** Removes a file; one that does not exist is no error. */
  remove(path: string): Promise<void>;

  /** Removes an *empty* folder; one that does not exist is no error. */
  removeFolder(path: string): Promise<void>;

  /** Creates a folder in an existing one; `false` when it was there already. */
  makeFolder(path: string): Promise<boolean>;
}

export interface StorageEntry {
  readonly name: string;
  /**
   * Anything that is neither a folder nor a symbolic link counts as a file; opening tells what it really is.
   * A link is never followed, wherever it leads.
   */
  readonly kind: 'file' | 'folder' | 'link';
  /** Size of a file, when it was asked for. */
  readonly bytes?: number;
}

/** A new file being written. After a failed append it can only be aborted. */
export interface VolumeSink {
  /** Appends all bytes of all chunks, in order. The chunks may be reused when the promise settles. */
  append(chunks: readonly Uint8Array[]): Promise<void>;
  /** Makes everything durable and closes. Safe twice. */
  close(): Promise<void>;
  /** Closes and removes the file. Safe twice, and after {@link close}. */
  abort(): Promise<void>;
}

/** An open file. */
export interface VolumeReader {
  /** Bytes, when it was opened. */
  readonly size: number;
  /** Fills `into` with the bytes from `offset`; a file that ends before is an error. */
  read(offset: number, into: Uint8Array): Promise<void>;
  /** Safe twice. */
  close(): Promise<void>;
}
