import { readdir, readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { runQemuTool, startQemuNbd, whenListening } from '#nbdelta/operations/qemu-tools.js';
import { describeWith } from '../support/peers.js';
import { waitFor } from '../support/processes.js';
import { tempFolder } from '../support/temp-folder.js';

/** Whether a qemu-nbd serves this image. A process that ends while we look has no command line any more. */
async function isServed(image: string): Promise<boolean> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map(pid => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return lines.some(line => line.startsWith('qemu-nbd') && line.includes(image));
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
});
