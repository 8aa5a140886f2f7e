/**
 * `npm test [-- vitest arguments]`: from a fresh clone to test results in one command.
 * The last line is plain: `N passed, N failed, N skipped`; before it, a line `FAILED file: test: why` for each
 * failure, as what vitest printed of it may be far above. Vitest runs on the node that runs this file.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureBuild, ensurePackages, ensurePeers, execute, ROOT, STRICT, say } from './setup.mjs';

function readResults(path, exitCode) {
  const results = existsSync(path)
    ? JSON.parse(readFileSync(path, 'utf8'))
    : { passed: 0, failures: [], skipped: 0 };
  // Vitest itself failed, or found no test: the line must say so.
  if (exitCode !== 0 && results.failures.length === 0)
    results.failures.push('FAILED outside any test: see above');
  return results;
}

ensurePackages();
ensureBuild();
const missing = ensurePeers();

const folder = mkdtempSync(join(tmpdir(), 'nbdelta-test-'));
const results = join(folder, 'results.json');
const reporter = join(ROOT, 'test/run/failures-reporter.mjs');
const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
const reporters = ['--reporter=default', `--reporter=${reporter}`];
const given = process.argv.slice(2);
// A real libvirtd and real guests: minutes of their own, `npm run test:stack`.
const chosen = given.length > 0 ? given : ['--exclude', 'test/stack/**'];
let code = execute(process.execPath, [vitest, 'run', ...reporters, ...chosen], {
  NBDELTA_TEST_RESULTS: results,
});
const { passed, failures, skipped } = readResults(results, code);
rmSync(folder, { recursive: true, force: true });

if (STRICT && missing.length > 0) {
  say(`failed: CI needs every program, and these are missing: ${missing.join(' ')}`);
  code = code === 0 ? 1 : code;
}
for (const line of failures) say(line);
say(`${passed} passed, ${failures.length} failed, ${skipped} skipped`);
process.exitCode = code;
