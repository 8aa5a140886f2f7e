import { HypervisorError } from '../../errors.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { Host } from '../host/host.js';
import { LocalHost } from '../host/local-host.js';
import { SshHost } from '../host/ssh-host.js';
import { parseBackup, type RunningBackup } from './backup-xml.js';
import { parseConnectUri } from './connect-uri.js';
import { type Domain, parseDomain } from './domain-xml.js';
import { Virsh } from './virsh.js';
import { wordsOf } from './virsh-error.js';
import {
  type DomainJob,
  type DomainState,
  type LibvirtVersions,
  parseJob,
  parseNames,
  parseState,
  parseVersions,
} from './virsh-output.js';

const NO_JOB: DomainJob = { isActive: false, operation: 'none', temporaryUsed: undefined };

/** libvirt and the machine that it runs on; the questions about one domain. `uuid` is unlike a name never ambiguous. */
export class LibvirtConnection {
  readonly virsh: Virsh;
  readonly host: Host;
  readonly options: FrontEndOptions;
  #versions: LibvirtVersions | undefined;

  private constructor(virsh: Virsh, host: Host, options: FrontEndOptions) {
    this.virsh = virsh;
    this.host = host;
    this.options = options;
  }

  /** @throws HypervisorError HYPERVISOR_UNREACHABLE, HYPERVISOR_DENIED; UsageError for a URI that ssh cannot follow. */
  static async open(options: FrontEndOptions): Promise<LibvirtConnection> {
    // Refused at once, whatever libvirt would say of it; an alias of libvirt.conf is no URI.
    if (options.connect?.includes('://')) parseConnectUri(options.connect);
    const virsh = new Virsh(options.connect);
    // Without --connect it is up to virsh's configuration and environment, which may well name another host.
    try {
      const ssh = parseConnectUri((await virsh.run('uri')).trim());
      const host = ssh === undefined ? new LocalHost() : await SshHost.open(ssh);
      return new LibvirtConnection(virsh, host, options);
    } catch (error) {
      virsh[Symbol.dispose]();
      throw error;
    }
  }

  /** Asked once: it may take libvirt seconds to find out what its QEMU can do. */
  async versions(): Promise<LibvirtVersions> {
    this.#versions ??= parseVersions(await this.virsh.run('version', { options: { daemon: true } }));
    return this.#versions;
  }

  /** @throws HypervisorError GUEST_UNKNOWN. */
  async domain(domain: string): Promise<Domain> {
    try {
      return parseDomain(await this.virsh.domain(domain, 'dumpxml'));
    } catch (cause) {
      throw isUnknown(cause) ? unknownGuest(domain, cause) : cause;
    }
  }

  async state(uuid: string): Promise<DomainState> {
    return parseState(await this.virsh.domain(uuid, 'domstate', { options: { reason: true } }));
  }

  async job(uuid: string): Promise<DomainJob> {
    try {
      return parseJob(await this.virsh.domain(uuid, 'domjobinfo', { options: { rawstats: true } }));
    } catch (error) {
      if (/domain is not running/i.test(wordsOf(error))) return NO_JOB;
      throw error;
    }
  }

  /** The backup job that runs; `undefined`: none. */
  async backup(uuid: string): Promise<RunningBackup | undefined> {
    try {
      return parseBackup(await this.virsh.domain(uuid, 'backup-dumpxml'));
    } catch (error) {
      if (/no domain backup job|domain is not running/i.test(wordsOf(error))) return undefined;
      throw error;
    }
  }

  /** Checkpoints that libvirt knows, parents before children. */
  async checkpoints(uuid: string): Promise<readonly string[]> {
    const options = { name: true, topological: true } as const;
    return parseNames(await this.virsh.domain(uuid, 'checkpoint-list', { options }));
  }
}

function isUnknown(error: unknown): boolean {
  return error instanceof HypervisorError && error.code === 'GUEST_UNKNOWN';
}

function unknownGuest(domain: string, cause: unknown): HypervisorError {
  return new HypervisorError('GUEST_UNKNOWN', `libvirt has no domain ${JSON.stringify(domain)}`, {
    cause,
    hint: 'see `virsh list --all`, and --connect for another libvirt',
    fields: { domain },
  });
}
