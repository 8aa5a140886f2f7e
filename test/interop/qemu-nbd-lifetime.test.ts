import { readdir, readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { runQemuTool, startQemuNbd, whenListening } from '#nbdelta/operations/qemu-tools.js';
import { describeWith } from '../support/peers.js';
import { waitFor } from '../support/processes.js';
import { tempFolder } from '../support/temp-folder.js';

/** The qemu-nbd that serves this image. A process that ends while we look has no command line any more. */
async function serverOf(image: string): Promise<string | undefined> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map(pid => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return pids[lines.findIndex(line => line.startsWith('qemu-nbd') && line.includes(image))];
}

async function isServed(image: string): Promise<boolean> {
  return (await serverOf(image)) !== undefined;
}

/** Pages that a process had to be given so far: field 10 of `/proc/PID/stat`. */
async function pageFaults(pid: string): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[10 - 3]);
}

describeWith(['qemu-nbd', 'qemu-img'], 'the qemu-nbd of a restore to qcow2', () => {
  it('does not outlive its client: a killed restore used to leave it running', async () => {
    await using folder = await tempFolder();
    const image = folder.file('disk.qcow2');
    await runQemuTool('qemu-img', ['create', '-q', '-f', 'qcow2', image, '1M']);
    const server = await startQemuNbd({ image, args: ['-f', 'qcow2'], lifetime: 'first-client' });
    const client = await whenListening(() => connectNbd(server.uri, { contexts: [] }));
    expect(await isServed(image)).toBe(true);
    await client.close();
    await waitFor(async () => !(await isServed(image)), 'qemu-nbd has ended');
    await server.stop();
  });

  it('ends when it is told to, with its client still there', async () => {
    await using folder = await tempFolder();
    const image = folder.file('disk.qcow2');
    await runQemuTool('qemu-img', ['create', '-q', '-f', 'qcow2', image, '1M']);
    const server = await startQemuNbd({ image, args: ['-f', 'qcow2'], lifetime: 'first-client' });
    await using client = await whenListening(() => connectNbd(server.uri, { contexts: [] }));
    await server.stop({ now: true });
    expect(await isServed(image)).toBe(false);
    expect(client.size).toBe(1 << 20);
  });

  it('keeps its memory: each request used to fault in pages of its own, and a restore took three times as long', async () => {
    await using folder = await tempFolder();
    const [image, length] = [folder.file('disk.qcow2'), 1 << 20];
    await runQemuTool('qemu-img', ['create', '-q', '-f', 'qcow2', image, '64M']);
    const server = await startQemuNbd({ image, args: ['-f', 'qcow2'], lifetime: 'until-stopped' });
    const client = await whenListening(() => connectNbd(server.uri, { contexts: [], requestBytes: length }));
    const [pid, content] = [(await serverOf(image))!, Buffer.alloc(length, 'x')];
    const writeAll = async () => {
      for (let at = 0; at < 64; at += 4)
        await Promise.all([0, 1, 2, 3].map(next => client.write((at + next) * length, content)));
    };
    await writeAll();
    const before = await pageFaults(pid);
    await writeAll();
    // 64 MiB are 16,384 pages.
    expect((await pageFaults(pid)) - before).toBeLessThan(4000);
    await client.close();
    await server.stop();
  });
});
