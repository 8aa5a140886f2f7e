/** `npm run bench [-- options]`: everything ready first, then the benchmarks. */
import { ensureBuild, ensurePackages, ensurePeers, execute } from './setup.mjs';

ensurePackages();
ensureBuild();
ensurePeers();
process.exitCode = execute(process.execPath, ['bench/run.mjs', ...process.argv.slice(2)]);
