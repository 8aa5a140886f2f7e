import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlockSource } from '../../nbd/server/block-source.js';
import { startNbdServer } from '../../nbd/server/nbd-server.js';
import { TrackedDisk } from '../../nbd/server/tracked-disk.js';
import { DEMO_DISK_SIZE, logText, planChanges, writeFirstContent } from './demo-content.js';
import { type Comparison, DEMO_BITMAP, type DemoStage, type Publication } from './demo-stage.js';

const STEP = 1 << 20;

/** A disk in memory, published by nbdelta's own server. Needs nothing installed. */
export async function openMemoryStage(folder: string): Promise<DemoStage> {
  const disk = new TrackedDisk(DEMO_DISK_SIZE);
  writeFirstContent((offset, bytes) => disk.write(offset, bytes));
  // From here on it records what a backup of this moment will not know of.
  disk.addBitmap(DEMO_BITMAP);
  return {
    about: "a disk in memory, published by nbdelta's own NBD server with a dirty bitmap",
    size: disk.size,
    formats: ['raw'],
    publish: () => publish(disk.snapshot(), join(folder, 'nbd.sock')),
    change: async () => changeDisk(disk),
    remember: async () => {
      const state = disk.snapshot();
      return { compare: image => compareWith(state, image) };
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function publish(source: BlockSource, path: string): Promise<Publication> {
  const server = await startNbdServer({ exports: [{ name: 'vda', source }], listen: { kind: 'unix', path } });
  return { uri: server.uri('vda'), [Symbol.asyncDispose]: () => server.close() };
}

function changeDisk(disk: TrackedDisk): void {
  for (const { kind, offset, length } of planChanges().changes) {
    if (kind === 'write') disk.write(offset, logText(length));
    else disk.zero(offset, length);
  }
}

/** Byte by byte and, so that it can be checked by hand, with SHA-256 of either side. */
async function compareWith(state: BlockSource, path: string): Promise<Comparison> {
  const file = await open(path);
  try {
    const expected = Buffer.alloc(STEP);
    const found = Buffer.alloc(STEP);
    const digests = [createHash('sha256'), createHash('sha256')] as const;
    let same = (await file.stat()).size === state.size;
    for (let at = 0; same && at < state.size; at += STEP) {
      const length = Math.min(STEP, state.size - at);
      const { bytesRead } = await file.read(found, 0, length, at);
      await state.readInto(at, expected.subarray(0, length));
      same = bytesRead === length && found.subarray(0, length).equals(expected.subarray(0, length));
      digests[0].update(expected.subarray(0, length));
      digests[1].update(found.subarray(0, length));
    }
    const [wanted, restored] = digests.map(digest => digest.digest('hex'));
    return { same: same && wanted === restored, method: 'every byte and SHA-256', sha256: restored };
  } finally {
    await file.close();
  }
}
