import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const run = promisify(execFile);

/** The options of the calling process were inherited, and every worker died of them. */
it('works in a program given on the command line with --input-type', async () => {
  const program = `
    import { parseCodec } from '#nbdelta/codec/codec-spec.js';
    import { openFramePool, sealedCapacity } from '#nbdelta/codec/frame-pool.js';
    const pool = openFramePool({ threads: 1, codec: parseCodec('zstd:1') });
    const raw = new Uint8Array(4096).fill(7).buffer;
    const pieceLengths = Uint32Array.of(4096);
    const sealed = await pool.seal({ raw, rawLength: 4096, pieceLengths, out: new ArrayBuffer(sealedCapacity(4096)) });
    console.log(sealed.liveLength);
    await pool[Symbol.asyncDispose]();`;
  const cwd = fileURLToPath(new URL('../../../', import.meta.url));
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', program], { cwd });
  expect(stdout).toBe('4096\n');
});
