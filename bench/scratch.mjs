/** A folder for one run, and the servers that it started: both are gone at the end, also after Ctrl-C. */
import { mkdtempSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';

/** Opens a scratch folder in `dir`. */
export function openScratch(dir) {
  const folder = mkdtempSync(join(dir, 'nbdelta-bench-'));
  const children = new Set();
  const clear = () => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  process.once('exit', clear);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  }
  return {
    folder,
    path: name => join(folder, name),
    /** A child process to be ended with the run; it is forgotten when it ends by itself. */
    own(child) {
      children.add(child);
      child.once('close', () => children.delete(child));
      return child;
    },
    remove(...names) {
      for (const name of names) rmSync(join(folder, name), { recursive: true, force: true });
    },
  };
}
