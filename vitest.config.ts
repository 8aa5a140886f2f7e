import { defineConfig } from 'vitest/config';

/** Rooms of tests run apart by path: `npm test -- test/unit`, `test/hostile`, `test/interop`, `test/e2e`. */
export default defineConfig({
  // Node 20 has no `await using` of its own.
  oxc: { target: 'es2022' },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 15_000,
  },
});
