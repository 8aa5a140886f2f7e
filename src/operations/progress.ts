/** What a long operation tells while it runs. Bytes. */
export interface Progress {
  /** `map`: reading the change map; `compare`: reading everything, to find what differs; `data`: moving data; `finish`: making it durable. */
  readonly phase: 'map' | 'compare' | 'data' | 'finish';
  readonly disk: string;
  /** Work done and to do in this phase. */
  readonly done: number;
  readonly total: number;
}

export type ProgressListener = (progress: Progress) => void;
