import { mkdir } from 'node:fs/promises';
import type { Manifest } from '#nbdelta/index.js';
import { nbdeltaJson } from '../e2e/nbdelta-command.js';
import { type Libvirtd, startLibvirtd } from '../support/libvirt/libvirtd.js';
import { type LinuxDomain, startLinuxDomain } from '../support/libvirt/linux-domain.js';
import { createQcow2 } from '../support/qcow2-image.js';
import { restoreBytes } from '../support/restore-check.js';

export interface LinuxGuestOptions {
  /** Empty disks: target and bytes. */
  readonly disks: Readonly<Record<string, number>>;
  readonly agent?: boolean;
  /** Fills the images before the guest starts. */
  readonly prepare?: (image: (target: string) => string) => Promise<void>;
}

/** A Linux called `linux` in a libvirtd of its own, and a repository to back it up to, as a user would. */
export class LinuxGuest implements AsyncDisposable {
  readonly libvirtd: Libvirtd;
  readonly linux: LinuxDomain;

  private constructor(libvirtd: Libvirtd, linux: LinuxDomain) {
    this.libvirtd = libvirtd;
    this.linux = linux;
  }

  static async start({ disks, agent = false, prepare }: LinuxGuestOptions): Promise<LinuxGuest> {
    const libvirtd = await startLibvirtd();
    try {
      const image = (target: string) => libvirtd.folder.file(`${target}.qcow2`);
      for (const [target, size] of Object.entries(disks)) await createQcow2(image(target), size);
      await prepare?.(image);
      await mkdir(libvirtd.folder.file('scratch'));
      const targets = Object.keys(disks).map(target => ({
        target,
        image: image(target),
        format: 'qcow2' as const,
      }));
      return new LinuxGuest(
        libvirtd,
        await startLinuxDomain(libvirtd, { name: 'linux', disks: targets, agent }),
      );
    } catch (error) {
      await libvirtd[Symbol.asyncDispose]();
      throw error;
    }
  }

  get repository(): string {
    return this.libvirtd.folder.file('repo');
  }

  /** The command line of a backup. */
  command(...options: readonly string[]): readonly string[] {
    const file = (name: string) => this.libvirtd.folder.file(name);
    return [
      ...['backup', 'libvirt:linux', '--connect', this.libvirtd.uri, '--repo', this.repository],
      ...['--state-dir', file('state'), '--scratch', file('scratch'), '--scratch-reserve', '1M'],
      ...['--socket-dir', file('nbd'), ...options],
    ];
  }

  async backUp(...options: readonly string[]): Promise<Manifest> {
    return (await nbdeltaJson<{ readonly point: Manifest }>(this.command(...options))).point;
  }

  /** Bytes of a disk as a point has it. */
  restored(point: Manifest, disk: string): Promise<Buffer> {
    return restoreBytes(this.repository, `linux@${point.id}`, disk);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.linux[Symbol.dispose]();
    await this.libvirtd[Symbol.asyncDispose]();
  }
}
