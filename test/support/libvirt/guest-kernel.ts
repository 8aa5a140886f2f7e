import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { runOk } from '../processes.js';
import { findKernelPackage, unpackPackage } from './debian-package.js';

/** What a guest with virtio disks and ext4 needs, unless it is built in. */
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'ext4', 'crc32c_generic'];

/**
 * Fills `folder` with Debian's kernel for virtual machines: `vmlinuz`, `modules/*.ko` and `modules/order`, the names
 * in the order to load them.
 */
export async function buildKernel(folder: string): Promise<void> {
  const unpacked = join(folder, '.unpacked');
  await unpackPackage(await findKernelPackage('linux-image-cloud-amd64'), unpacked);
  const files = await readdir(unpacked, { recursive: true });
  const image = files.find(file => /^boot\/vmlinuz-[^/]*$/.test(file));
  if (image === undefined) throw new Error('the package has no kernel');
  await copyFile(join(unpacked, image), join(folder, 'vmlinuz'));
  await mkdir(join(folder, 'modules'));
  const modules = new ModuleSet(files.map(file => join(unpacked, file)));
  for (const name of MODULES) await modules.add(name);
  for (const [name, content] of modules.found) await writeFile(join(folder, `modules/${name}.ko`), content);
  await writeFile(join(folder, 'modules/order'), [...modules.found.keys()].map(name => `${name}\n`).join(''));
  await rm(unpacked, { recursive: true });
}

/** Modules with what they depend on, each after its dependencies. */
class ModuleSet {
  readonly found = new Map<string, Buffer>();
  readonly #paths = new Map<string, string>();

  constructor(paths: readonly string[]) {
    for (const path of paths.filter(each => /\.ko(\.xz)?$/.test(each))) {
      this.#paths.set(
        basename(path)
          .replace(/\.ko.*$/, '')
          .replaceAll('-', '_'),
        path,
      );
    }
  }

  /** A module that there is not is part of the kernel. */
  async add(name: string): Promise<void> {
    const path = this.#paths.get(name);
    if (path === undefined || this.found.has(name)) return;
    const content = await readModule(path);
    for (const dependency of dependenciesOf(content)) await this.add(dependency);
    this.found.set(name, content);
  }
}

async function readModule(path: string): Promise<Buffer> {
  if (path.endsWith('.xz')) await runOk('xz', ['-d', path]);
  return await readFile(path.replace(/\.xz$/, ''));
}

/** A module says in its `.modinfo` what it depends on: `depends=virtio,virtio_ring` between two zero bytes. */
function dependenciesOf(module: Buffer): readonly string[] {
  const start = module.indexOf('\0depends=');
  if (start < 0) return [];
  const text = module.toString('latin1', start + '\0depends='.length, module.indexOf(0, start + 1));
  return text
    .split(',')
    .filter(Boolean)
    .map(name => name.replaceAll('-', '_'));
}
