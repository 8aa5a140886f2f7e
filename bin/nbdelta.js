#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

// Most commands end within seconds, and what takes long is native code. Node 20 optimizes so early that it costs a tenth
// of an incremental's CPU and wins nothing back; later ones do not, and do not know this word.
if (process.versions.node.startsWith('20.')) setFlagsFromString('--interrupt-budget=1000000');

if (existsSync(new URL('../dist/bundle/main.js', import.meta.url))) {
  const { main } = await import('../dist/bundle/main.js');
  await main();
} else {
  process.stderr.write('nbdelta: not built yet: run `npm ci` in its folder first\n');
  process.exitCode = 1;
}
