import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { outputMatches, startProcess } from '../processes.js';

/** Downloading a kernel on a slow line, while another worker waits for it. */
const LOCK_TIMEOUT_MS = 300_000;

/** Where what takes long to make is kept between runs; ours alone, as it is run with our rights. */
function cacheFolder(): string {
  const { XDG_CACHE_HOME } = process.env;
  return join(XDG_CACHE_HOME ? XDG_CACHE_HOME : join(homedir(), '.cache'), 'nbdelta-test');
}

/**
 * Path of a folder that `build` fills when it is not there yet. One worker at a time builds it, and the name appears when
 * all is in it. A recipe that changes needs a new name.
 */
export async function cached(name: string, build: (folder: string) => Promise<void>): Promise<string> {
  const cache = cacheFolder();
  const path = join(cache, name);
  if (existsSync(path)) return path;
  await mkdir(cache, { recursive: true, mode: 0o700 });
  await using _lock = await lock(join(cache, `${name}.lock`));
  if (existsSync(path)) return path;
  const unfinished = join(cache, `${name}.unfinished`);
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished);
  await build(unfinished);
  await rename(unfinished, path);
  return path;
}

/** Held by a process that ends with this one, whatever happens to it. */
function lock(path: string): Promise<AsyncDisposable> {
  const hold = ['sh', '-c', 'echo locked; exec sleep infinity'];
  const options = { ready: outputMatches(/locked/), readyTimeoutMs: LOCK_TIMEOUT_MS };
  return startProcess('flock', ['--no-fork', path, ...hold], options);
}
