import { constants } from 'node:fs';
import { copyFile, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorLine, NbdeltaError } from '../../errors.js';
import { inspectExport } from '../inspect-export.js';
import { runQemuTool, startQemuNbd, whenListening } from '../qemu-tools.js';
import { DEMO_DISK_SIZE, type DemoChange, planChanges, writeFirstContent } from './demo-content.js';
import { type Comparison, DEMO_BITMAP, type DemoStage, type Publication } from './demo-stage.js';

/** A qcow2 image with a persistent dirty bitmap, changed by qemu-io and published by qemu-nbd. */
export async function openQemuStage(folder: string): Promise<DemoStage> {
  for (const tool of ['qemu-img', 'qemu-io', 'qemu-nbd']) await runQemuTool(tool, ['--version']);
  const image = join(folder, 'vda.qcow2');
  await createImage(image, join(folder, 'first.raw'));
  await runQemuTool('qemu-img', ['bitmap', '--add', image, DEMO_BITMAP]);
  let states = 0;
  return {
    about: 'a qcow2 image with a persistent dirty bitmap, published by qemu-nbd',
    size: DEMO_DISK_SIZE,
    formats: ['raw', 'qcow2'],
    publish: withBitmap => publish(image, withBitmap),
    change: () => changeImage(image),
    remember: async () => {
      const copy = join(folder, `state-${++states}.qcow2`);
      await copyFile(image, copy, constants.COPYFILE_FICLONE);
      return { compare: (restored, format) => compareImages(restored, format, copy) };
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function createImage(image: string, raw: string): Promise<void> {
  const file = await open(raw, 'w');
  try {
    await file.truncate(DEMO_DISK_SIZE);
    const pieces: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
    writeFirstContent((offset, bytes) => pieces.push({ offset, bytes }));
    for (const { offset, bytes } of pieces) await file.write(bytes, 0, bytes.length, offset);
  } finally {
    await file.close();
  }
  await runQemuTool('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image]);
  await rm(raw);
}

async function publish(image: string, withBitmap: boolean): Promise<Publication> {
  const bitmap = withBitmap ? ['-B', DEMO_BITMAP] : [];
  const args = ['-r', '-f', 'qcow2', ...bitmap];
  const server = await startQemuNbd({ image, args, exportName: 'vda', lifetime: 'until-stopped' });
  await whenListening(() => inspectExport(server.uri));
  return { uri: server.uri, [Symbol.asyncDispose]: () => server.stop() };
}

async function changeImage(image: string): Promise<void> {
  const commands = planChanges().changes.flatMap((change, index) => ['-c', ioCommand(change, index)]);
  await runQemuTool('qemu-io', ['-f', 'qcow2', '-d', 'unmap', ...commands, image]);
}

function ioCommand({ kind, offset, length }: DemoChange, index: number): string {
  if (kind === 'write') return `write -q -P ${(index % 255) + 1} ${offset} ${length}`;
  return kind === 'zero' ? `write -q -z ${offset} ${length}` : `discard -q ${offset} ${length}`;
}

async function compareImages(restored: string, format: string, state: string): Promise<Comparison> {
  const method = 'qemu-img compare';
  try {
    await runQemuTool('qemu-img', ['compare', '-q', '-f', format, '-F', 'qcow2', restored, state]);
    return { same: true, method, sha256: undefined };
  } catch (error) {
    // 1: they differ. Anything else says that it could not compare.
    const { code } = (error as NbdeltaError).cause as { readonly code?: unknown };
    if (code === 1) return { same: false, method, sha256: undefined };
    throw new NbdeltaError('TOOL_MISSING', `qemu-img compare: ${errorLine(error)}`, { cause: error });
  }
}
