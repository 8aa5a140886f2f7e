import { TargetError } from '../../errors.js';
import { connectNbd, type NbdClient } from '../../nbd/client/client.js';
import { describeUri, type NbdUri } from '../../nbd/protocol/uri.js';
import type { RestoreTarget } from './restore-target.js';

const ZEROES = Buffer.alloc(1 << 20);

export interface NbdTargetOptions {
  /** Whether the export is known to read as zero everywhere. */
  readonly zeroed: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Any writable NBD export that is large enough. */
export async function openNbdTarget(
  uri: string | NbdUri,
  size: number,
  { zeroed, signal }: NbdTargetOptions,
): Promise<RestoreTarget> {
  const client = await connectNbd(uri, { contexts: [], ...(signal && { signal }) });
  const problem = unsuitable(client, size);
  if (!problem) return new NbdTarget(client, zeroed, size);
  await client.close();
  throw new TargetError('TARGET_INVALID', `${describeUri(client.uri)} ${problem.what}`, {
    hint: problem.hint,
  });
}

function unsuitable(client: NbdClient, size: number): { what: string; hint: string } | undefined {
  const { minimum } = client.info.blockSize;
  if (client.readOnly) {
    return { what: 'is read-only', hint: 'start the server writable (qemu-nbd: without -r)' };
  }
  if (client.size < size) {
    return { what: `has ${client.size} bytes, the disk has ${size}`, hint: 'restore to a larger export' };
  }
  if (size % minimum !== 0 && client.size < Math.ceil(size / minimum) * minimum) {
    return {
      what: `takes writes in multiples of ${minimum} bytes only, the disk has ${size} bytes`,
      hint: 'let the server accept smaller requests (nbdkit: --filter=blocksize)',
    };
  }
  return undefined;
}

class NbdTarget implements RestoreTarget {
  readonly description: string;
  readonly zeroed: boolean;
  readonly capacity: number;
  readonly #client: NbdClient;
  readonly #size: number;
  /** Writes that touch the same block must not overlap in time: each reads, changes and writes it whole. */
  #edges: Promise<unknown> = Promise.resolve();

  constructor(client: NbdClient, zeroed: boolean, size: number) {
    this.#client = client;
    this.zeroed = zeroed;
    this.capacity = client.size;
    this.#size = size;
    this.description = describeUri(client.uri);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const { minimum } = this.#client.info.blockSize;
    const head = Math.min(bytes.byteLength, (minimum - (offset % minimum)) % minimum);
    const tail = (bytes.byteLength - head) % minimum;
    const middle = bytes.byteLength - head - tail;
    if (head > 0) await this.#writeInside(offset, bytes.subarray(0, head));
    if (middle > 0) await this.#client.write(offset + head, bytes.subarray(head, head + middle));
    if (tail > 0) await this.#writeInside(offset + head + middle, bytes.subarray(head + middle));
  }

  /** Changes a part of one block. */
  #writeInside(offset: number, bytes: Uint8Array): Promise<void> {
    const edge = this.#edges.then(async () => {
      const { minimum } = this.#client.info.blockSize;
      const start = offset - (offset % minimum);
      const block = await this.#client.read(start, minimum);
      block.set(bytes, offset - start);
      // Beyond the disk's end, in its last block, the export keeps what it has.
      await this.#client.write(start, block);
    });
    this.#edges = edge.catch(() => undefined);
    return edge;
  }

  async zero(offset: number, length: number): Promise<void> {
    const { minimum } = this.#client.info.blockSize;
    const start = Math.min(Math.ceil(offset / minimum) * minimum, offset + length);
    const end = Math.max(start, offset + length - ((offset + length) % minimum));
    if (start > offset) await this.write(offset, ZEROES.subarray(0, start - offset));
    await this.#zeroAligned(start, end - start);
    if (offset + length > end) await this.write(end, ZEROES.subarray(0, offset + length - end));
  }

  async #zeroAligned(offset: number, length: number): Promise<void> {
    if (length === 0) return;
    if (this.#client.canWriteZeroes) return this.#client.writeZeroes(offset, length);
    for (let at = 0; at < length; at += ZEROES.length) {
      await this.#client.write(offset + at, ZEROES.subarray(0, Math.min(ZEROES.length, length - at)));
    }
  }

  async finish(): Promise<void> {
    await this.#edges;
    await this.#client.flush();
    await this.#client.close();
    if (this.#client.reconnects > 0) throw writesLost(this.description, this.#size);
  }

  async abort(): Promise<void> {
    await this.#client.close();
  }
}

/** A server that went away may have taken writes with it that it had acknowledged but not flushed. */
function writesLost(target: string, size: number): TargetError {
  return new TargetError(
    'TARGET_INVALID',
    `the connection to ${target} was lost while ${size} bytes were written`,
    {
      hint: 'run the restore again',
      retryable: true,
    },
  );
}
