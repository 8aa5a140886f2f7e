import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { startNbdServer } from '#nbdelta/nbd/server/nbd-server.js';
import { TrackedDisk } from '#nbdelta/nbd/server/tracked-disk.js';
import { tempFolder } from '../support/temp-folder.js';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** The README's first JavaScript block, word for word. */
async function vendorExample(): Promise<string> {
  const readme = await readFile(`${ROOT}README.md`, 'utf8');
  const block = /```js\n([\s\S]*?)```/.exec(readme);
  return block![1]!;
}

it("runs the README's vendor example as it stands there", async () => {
  await using folder = await tempFolder();
  const disk = new TrackedDisk(1 << 20);
  disk.write(0, Buffer.alloc(1 << 19, 0x41));
  disk.addBitmap('b0');
  disk.write(0x10000, Buffer.alloc(0x10000, 0x42));
  disk.zero(0x40000, 0x20000);
  await using server = await startNbdServer({
    exports: [{ name: 'vda', source: disk.snapshot() }],
    listen: { kind: 'unix', path: folder.file('s') },
  });
  const { stdout, stderr } = await run(
    process.execPath,
    ['--input-type=module', '--eval', await vendorExample()],
    { cwd: ROOT, env: { ...process.env, NBD_URI: server.uri('vda'), BITMAP: 'b0' } },
  );
  expect(stderr).toBe('');
  expect(stdout).toBe('65536 bytes changed, 131072 bytes zeroed, of 1048576\n');
});
