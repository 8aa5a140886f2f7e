/** How a restored image compares with what the disk held. */
export interface Comparison {
  readonly same: boolean;
  /** How it was compared. */
  readonly method: string;
  /** SHA-256 of the content, where it was computed; hex. */
  readonly sha256: string | undefined;
}

/** A disk's content at one moment, to compare a restored image with. */
export interface RememberedState {
  compare(image: string, format: 'raw' | 'qcow2'): Promise<Comparison>;
}

/** An export that shows the disk as it was at one moment. */
export interface Publication extends AsyncDisposable {
  readonly uri: string;
}

/** Stands for the guest and its hypervisor: a disk that changes, and is published for a backup. */
export interface DemoStage extends AsyncDisposable {
  /** What it is, for people. */
  readonly about: string;
  /** Bytes. */
  readonly size: number;
  /** What a restored disk can be. */
  readonly formats: readonly ('raw' | 'qcow2')[];
  /** Publishes the disk as it is now; with its dirty bitmap `backup-vda` when there is one to read. */
  publish(withBitmap: boolean): Promise<Publication>;
  /** Does what {@link planChanges} says. */
  change(): Promise<void>;
  /** Remembers the disk as it is now. */
  remember(): Promise<RememberedState>;
}

export const DEMO_BITMAP = 'backup-vda';
