/**
 * `npm test [-- vitest arguments]`: from a fresh clone to test results in one command.
 * The last line is plain: `N passed, N failed, N skipped`; before it, a line `FAILED file: test: why` for each
 * failure, as what vitest printed of it may be far above. Vitest runs on the node that runs this file.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { ensureBuild, ensurePackages, ensurePeers, execute, ROOT, STRICT, say } from './setup.mjs';

/** What vitest's JSON report says. A file that did not even load counts as one failure. */
function summarize(report) {
  const failures = report.testResults.flatMap(file => {
    const name = relative(ROOT, file.name);
    const failed = file.assertionResults.filter(test => test.status === 'failed');
    if (failed.length > 0)
      return failed.map(test => failureLine(name, test.fullName, test.failureMessages[0]));
    return file.status === 'failed' ? [failureLine(name, 'did not load', file.message)] : [];
  });
  return { passed: report.numPassedTests, failures, skipped: report.numPendingTests + report.numTodoTests };
}

function failureLine(file, what, why = '') {
  return `FAILED ${file}: ${what}: ${why.split('\n')[0].slice(0, 300)}`;
}

function readResults(path, exitCode) {
  const results = existsSync(path)
    ? summarize(JSON.parse(readFileSync(path, 'utf8')))
    : { passed: 0, failures: [], skipped: 0 };
  // An error outside any test (an unhandled rejection, no test found) fails the run: the line must say so.
  if (exitCode !== 0 && results.failures.length === 0)
    results.failures.push('FAILED outside any test: see above');
  return results;
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
const { passed, failures, skipped } = readResults(report, code);
rmSync(folder, { recursive: true, force: true });

if (STRICT && missing.length > 0) {
  say(`failed: CI needs every program, and these are missing: ${missing.join(' ')}`);
  code = code === 0 ? 1 : code;
}
for (const line of failures) say(line);
say(`${passed} passed, ${failures.length} failed, ${skipped} skipped`);
process.exitCode = code;
