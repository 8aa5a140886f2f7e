/**
 * `npm test [-- vitest arguments]`: from a fresh clone to test results in one command.
 * The last line is plain: `N passed, N failed, N skipped`. Vitest runs on the node that runs this file.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureBuild, ensurePackages, ensurePeers, execute, ROOT, STRICT, say } from './setup.mjs';

/** Counts of vitest's JSON report. A file that did not even load counts as one failure. */
function countResults(report) {
  const unloaded = report.testResults.filter(
    file => file.status === 'failed' && !file.assertionResults.some(test => test.status === 'failed'),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + unloaded.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

function readResults(path, exitCode) {
  const counts = existsSync(path)
    ? countResults(JSON.parse(readFileSync(path, 'utf8')))
    : { passed: 0, failed: 0, skipped: 0 };
  // An error outside any test (an unhandled rejection, no test found) fails the run: the line must say so.
  if (exitCode !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}

ensurePackages();
ensureBuild();
const missing = ensurePeers();

const folder = mkdtempSync(join(tmpdir(), 'nbdelta-test-'));
const report = join(folder, 'report.json');
const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
const given = process.argv.slice(2);
// A real libvirtd and real guests: minutes of their own, `npm run test:stack`.
const chosen = given.length > 0 ? given : ['--exclude', 'test/stack/**'];
let code = execute(process.execPath, [vitest, 'run', ...reporters, ...chosen]);
const { passed, failed, skipped } = readResults(report, code);
rmSync(folder, { recursive: true, force: true });

if (STRICT && missing.length > 0) {
  say(`failed: CI needs every program, and these are missing: ${missing.join(' ')}`);
  code = code === 0 ? 1 : code;
}
say(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = code;
