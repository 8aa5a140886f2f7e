import { createHash } from 'node:crypto';
import { chmod, copyFile, cp, mkdir, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { runOk } from '../processes.js';
import { findProgram } from '../programs.js';
import { unpackPackage } from './debian-package.js';
import { cached } from './guest-cache.js';
import { buildKernel } from './guest-kernel.js';

/** A Linux that boots from nothing but these two files. */
export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
}

const INIT = new URL('guest-init.sh', import.meta.url).pathname;

/** Makes the guest, or finds it in the cache: kernel, busybox, and the real guest agent. */
export async function guestImage(): Promise<GuestImage> {
  const kernel = await cached('kernel-1', buildKernel);
  const agent = await cached('agent-1', buildAgent);
  const busybox = findProgram('busybox')!;
  const digest = createHash('sha256')
    .update(await readFile(INIT))
    .update(await readFile(busybox));
  const name = `initramfs-1-${digest.digest('hex').slice(0, 16)}`;
  const initramfs = await cached(name, folder => buildInitramfs(folder, { kernel, agent, busybox }));
  return { kernel: join(kernel, 'vmlinuz'), initrd: join(initramfs, 'initrd') };
}

/** The agent of Debian's package and the libraries of this machine that it needs, each under its own path. */
async function buildAgent(folder: string): Promise<void> {
  const unpacked = join(folder, '.unpacked');
  await unpackPackage('qemu-guest-agent', unpacked);
  await mkdir(join(folder, 'sbin'));
  const program = join(folder, 'sbin/qemu-ga');
  await copyFile(join(unpacked, 'usr/sbin/qemu-ga'), program);
  const libraries = await runOk('ldd', [program]);
  const missing = /^\s*(\S+) => not found/m.exec(libraries)?.[1];
  if (missing !== undefined) throw new Error(`qemu-ga needs ${missing}, which this machine does not have`);
  for (const [, path] of libraries.matchAll(/(\/\S+) \(0x/g)) {
    // The loader looks in /lib64 for itself and in /lib for the others, whatever Debian's folders are.
    const place = basename(path!).startsWith('ld-') ? 'lib64' : 'lib';
    await mkdir(join(folder, place), { recursive: true });
    await copyFile(path!, join(folder, place, basename(path!)));
  }
  await rm(unpacked, { recursive: true });
}

interface Parts {
  readonly kernel: string;
  readonly agent: string;
  readonly busybox: string;
}

/** Not compressed: unpacking takes the emulated CPU longer than reading. */
async function buildInitramfs(folder: string, { kernel, agent, busybox }: Parts): Promise<void> {
  const root = join(folder, '.root');
  await cp(agent, root, { recursive: true });
  await cp(join(kernel, 'modules'), join(root, 'modules'), { recursive: true });
  await mkdir(join(root, 'bin'));
  await copyFile(busybox, join(root, 'bin/busybox'));
  await symlink('busybox', join(root, 'bin/sh'));
  await copyFile(INIT, join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
  const names = ['.', ...(await readdir(root, { recursive: true }))].map(name => `${name}\n`).join('');
  await runOk('cpio', ['-o', '-H', 'newc', '--quiet', '-F', join(folder, 'initrd')], {
    input: names,
    cwd: root,
  });
  await rm(root, { recursive: true });
}
