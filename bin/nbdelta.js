#!/usr/bin/env node
import { existsSync } from 'node:fs';

if (existsSync(new URL('../dist/cli/main.js', import.meta.url))) {
  const { main } = await import('../dist/cli/main.js');
  await main();
} else {
  process.stderr.write('nbdelta: not built yet: run `npm ci` in its folder first\n');
  process.exitCode = 1;
}
