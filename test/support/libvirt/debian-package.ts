import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type RunResult, run, runOk } from '../processes.js';

const DOWNLOAD = { timeoutMs: 240_000, env: { LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' } };

/** Downloads a Debian package and unpacks it into `folder`; nothing of it is installed or run. */
export async function unpackPackage(name: string, folder: string): Promise<void> {
  const download = join(folder, '.download');
  await mkdir(download, { recursive: true });
  await withLists(() => run('apt-get', ['download', '-q', name], { ...DOWNLOAD, cwd: download }));
  const file = (await readdir(download)).find(each => each.startsWith(`${name}_`));
  if (file === undefined) throw new Error(`apt-get downloaded no ${name}`);
  await runOk('dpkg', ['-x', join(download, file), folder]);
}

/** The kernel image that a package without content (`linux-image-cloud-amd64`) stands for at the moment. */
export async function findKernelPackage(meta: string): Promise<string> {
  const { stdout } = await withLists(() => run('apt-cache', ['depends', meta], DOWNLOAD));
  const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (name === undefined) throw new Error(`${meta} depends on no kernel image: ${stdout}`);
  return name;
}

/** A machine that has just been made knows no packages: then once more after `apt-get update`. */
async function withLists(command: () => Promise<RunResult>): Promise<RunResult> {
  const first = await command();
  if (first.code === 0 && first.stdout !== '') return first;
  await runOk('apt-get', ['update', '-q'], DOWNLOAD);
  const second = await command();
  if (second.code !== 0) throw new Error(`apt: ${second.stderr}`);
  return second;
}
