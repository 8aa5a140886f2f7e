/** `npm run demo [-- options]`: needs npm packages only; with `--qemu` also QEMU's programs. */
import { ensureBuild, ensurePackages, ensurePeers, execute } from './setup.mjs';

const args = process.argv.slice(2);
ensurePackages();
ensureBuild();
if (args.includes('--qemu')) ensurePeers();
process.exitCode = execute(process.execPath, ['bin/nbdelta.js', 'demo', ...args]);
