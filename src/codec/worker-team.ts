import { Worker } from 'node:worker_threads';
import { AbortedError, errorLine, NbdeltaError } from '../errors.js';
import type { FrameReply, FrameRequest, FrameWorkerData } from './frame-messages.js';

/** Jobs that a worker may hold: one at work, one waiting so that it never idles. */
const JOBS_PER_WORKER = 2;

interface Job {
  readonly request: FrameRequest;
  readonly transfer: ArrayBuffer[];
  readonly resolve: (reply: FrameReply) => void;
  readonly reject: (error: NbdeltaError) => void;
}

interface Member {
  readonly worker: Worker;
  readonly jobs: Map<number, Job>;
}

/**
 * Worker threads and the jobs they hold. A job goes to the least busy worker; a thread starts when there is more
 * to do than the running ones can hold. When one dies, every job fails and so does every later one: what it did
 * last is unknown.
 */
export class WorkerTeam {
  readonly #threads: number;
  readonly #data: FrameWorkerData;
  readonly #members: Member[] = [];
  readonly #waiting: Job[] = [];
  #nextJob = 1;
  #ended: NbdeltaError | undefined;
  #closing: Promise<void> | undefined;

  constructor(threads: number, data: FrameWorkerData) {
    this.#threads = threads;
    this.#data = data;
  }

  /** The number for the next request. */
  nextJob(): number {
    return this.#nextJob++;
  }

  /** Hands a request to a worker; the buffers in `transfer` go along, at once or when a worker has room. */
  run(request: FrameRequest, transfer: ArrayBuffer[]): Promise<FrameReply> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, transfer, resolve, reject });
      this.#dispatch();
    });
  }

  /** Starts all threads now: each needs a moment until it can work. */
  warmUp(): void {
    while (this.#ended === undefined && this.#members.length < this.#threads) this.#start();
  }

  /** Ends the threads; jobs that are not done are rejected. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#end(new AbortedError('frame pool closed'));
    return this.#closing;
  }

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      const member = this.#leastBusy();
      if (member === undefined) return;
      this.#send(member, this.#waiting.shift()!);
    }
  }

  #send(member: Member, job: Job): void {
    try {
      member.worker.postMessage(job.request, job.transfer);
    } catch (cause) {
      job.reject(new NbdeltaError('INTERNAL', `frame cannot go to a worker: ${errorLine(cause)}`, { cause }));
      return;
    }
    member.jobs.set(job.request.job, job);
  }

  /** A worker with room: an idle one, else a new thread, else the one with the fewest jobs. */
  #leastBusy(): Member | undefined {
    let best: Member | undefined;
    for (const member of this.#members) {
      if (best === undefined || member.jobs.size < best.jobs.size) best = member;
    }
    if (best?.jobs.size === 0) return best;
    if (this.#members.length < this.#threads) return this.#start();
    return best !== undefined && best.jobs.size < JOBS_PER_WORKER ? best : undefined;
  }

  #start(): Member {
    const worker = new Worker(new URL('./frame-worker.js', import.meta.url), {
      workerData: this.#data,
      // Not the caller's: under `node --input-type=module --eval` a worker would take its file for an error.
      execArgv: [],
    });
    const member: Member = { worker, jobs: new Map() };
    worker.on('message', (reply: FrameReply) => this.#settle(member, reply));
    worker.on('messageerror', cause => this.#died(`got an unreadable message: ${errorLine(cause)}`, cause));
    worker.on('error', cause => this.#died(`died: ${errorLine(cause)}`, cause));
    worker.on('exit', code => this.#died(`ended with exit code ${code}`));
    this.#members.push(member);
    return member;
  }

  #settle(member: Member, reply: FrameReply): void {
    const job = member.jobs.get(reply.job);
    if (job === undefined) return; // The pool ended meanwhile, its jobs are rejected.
    member.jobs.delete(reply.job);
    this.#dispatch();
    if (reply.kind === 'failed') job.reject(new NbdeltaError('INTERNAL', `frame worker: ${reply.message}`));
    else job.resolve(reply);
  }

  #died(how: string, cause?: unknown): void {
    if (this.#ended !== undefined) return;
    const error = new NbdeltaError('INTERNAL', `a frame worker ${how}`, { cause });
    this.#closing = this.#end(error);
  }

  async #end(error: NbdeltaError): Promise<void> {
    this.#ended = error;
    const jobs = [...this.#waiting.splice(0), ...this.#members.flatMap(member => [...member.jobs.values()])];
    for (const member of this.#members) member.jobs.clear();
    for (const job of jobs) job.reject(sameError(error));
    await Promise.all(this.#members.map(member => member.worker.terminate()));
  }
}

/** Every caller gets an error object of its own. */
function sameError(error: NbdeltaError): NbdeltaError {
  if (error instanceof AbortedError) return new AbortedError('frame pool closed');
  return new NbdeltaError(error.code, error.message, { cause: error.cause });
}
