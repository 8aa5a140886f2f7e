/**
 * What a backup sees of a bad sector behind QEMU's NBD server. QEMU (7.2, 10.0) ends the connection when a read
 * that it may fragment fails; the client used to report that as a lost connection, of whatever was in flight.
 */
import { writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { connectNbd } from '#nbdelta/nbd/client/client.js';
import { NBD_EIO } from '#nbdelta/nbd/protocol/constants.js';
import { describeWith } from '../support/peers.js';
import { runOk } from '../support/processes.js';
import { startQemuNbd } from '../support/qemu-nbd.js';
import { tempFolder } from '../support/temp-folder.js';

const KIB64 = 65_536;
const MIB = 2 ** 20;

describeWith(['qemu-nbd', 'qemu-img', 'qemu-io'], 'a bad sector behind qemu-nbd', () => {
  it.each([1, 4])('is EIO of its own read, and of no other (%i connections)', async connections => {
    await using folder = await tempFolder();
    const [raw, faults] = [folder.file('disk.raw'), folder.file('faults')];
    await runOk('qemu-img', ['create', '-q', '-f', 'raw', raw, `${8 * MIB}`]);
    await runOk('qemu-io', ['-f', 'raw', '-c', 'write -P 0x55 0 8M', raw]);
    const sector = (3 * MIB) / 512;
    const fault = `event = "none"\niotype = "read"\nerrno = "5"\nsector = "${sector}"`;
    await writeFile(faults, `[inject-error]\n${fault}\n`);
    await using server = await startQemuNbd({ image: `blkdebug:${faults}:${raw}`, format: 'raw' });
    await using client = await connectNbd(server.uri, { connections });

    const expected = Buffer.alloc(KIB64, 0x55);
    const reads = Array.from({ length: (8 * MIB) / KIB64 }, async (_, index) => {
      return expected.equals(await client.read(index * KIB64, KIB64));
    });
    const results = await Promise.allSettled(reads);
    const failed = results.flatMap((result, index) => (result.status === 'rejected' ? [index] : []));
    expect(failed).toEqual([(3 * MIB) / KIB64]);
    expect(results[failed[0]!]).toMatchObject({
      reason: { code: 'NBD_COMMAND_FAILED', errno: NBD_EIO, fields: { offset: 3 * MIB, length: KIB64 } },
    });
    expect(results.filter(result => result.status === 'fulfilled' && result.value)).toHaveLength(127);
  });
});
