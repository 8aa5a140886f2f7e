/**
 * A vitest reporter that writes down, as JSON in the file of `NBDELTA_TEST_RESULTS`, how many tests passed and were skipped,
 * and why each of the others failed: a test, or what should have prepared several (a hook, a file that does not load).
 */
import { writeFileSync } from 'node:fs';

const LONGEST = 300;

function failureLine(file, what, errors) {
  const why = errors[0]?.message ?? '';
  return `FAILED ${file}: ${what}: ${why.split('\n')[0].slice(0, LONGEST)}`;
}

export default class FailuresReporter {
  onTestRunEnd(modules, unhandled) {
    const [failures, count] = [[], { passed: 0, failed: 0, skipped: 0, pending: 0 }];
    for (const module of modules) {
      const file = module.relativeModuleId;
      if (module.errors().length > 0) failures.push(failureLine(file, 'did not load', module.errors()));
      for (const suite of module.children.allSuites()) {
        if (suite.errors().length > 0)
          failures.push(failureLine(file, `${suite.fullName}, before or after its tests`, suite.errors()));
      }
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result();
        count[state]++;
        if (state === 'failed') failures.push(failureLine(file, test.fullName, errors));
      }
    }
    for (const error of unhandled) failures.push(failureLine('outside any test', error.name, [error]));
    const { passed, skipped, pending } = count;
    const results = { passed, failures, skipped: skipped + pending };
    writeFileSync(process.env['NBDELTA_TEST_RESULTS'], JSON.stringify(results));
  }
}
