/** What a long operation tells while it runs. Bytes. */
export interface Progress {
  /** `map`: reading the change map; `data`: moving data; `finish`: making it durable. */
  readonly phase: 'map' | 'data' | 'finish';
  readonly disk: string;
  /** Work done and to do in this phase. */
  readonly done: number;
  readonly total: number;
}

export type ProgressListener = (progress: Progress) => void;
