import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HypervisorError } from '../../errors.js';
import type { Host, HostUser } from './host.js';
import { type ProgramResult, type RunOptions, runProgram } from './run-program.js';
import { socketPath } from './socket-folder.js';
import { formatSshOptions, type SshTarget, shellWord, sshFailure } from './ssh-command.js';
import { REMOTE_SCRIPTS, type RemoteScript } from './ssh-scripts.js';

/** ssh binds its control socket under a longer name first (a dot and 16 letters), and moves it then. */
const CONTROL_NAME = 'c';
const CONTROL_SUFFIX = 17;

/** Exit code of {@link REMOTE_SCRIPTS} for what is not there. */
const NOT_THERE = 3;

/**
 * Another machine, over ssh: without questions (BatchMode), over one connection for all commands. Every word of a
 * command is quoted: ssh hands it to a shell there.
 */
export class SshHost implements Host {
  readonly name: string;
  readonly isLocal = false;
  readonly #target: SshTarget;
  readonly #folder: string;

  private constructor(target: SshTarget, folder: string) {
    this.#target = target;
    this.#folder = folder;
    this.name = target.user === undefined ? target.host : `${target.user}@${target.host}`;
  }

  /** @throws HypervisorError HYPERVISOR_UNREACHABLE, HYPERVISOR_DENIED. */
  static async open(target: SshTarget): Promise<SshHost> {
    const folder = await mkdtemp(join(tmpdir(), 'nbdelta-ssh-'));
    const host = new SshHost(target, folder);
    try {
      await host.#ssh(['-M', '-S', controlPath(folder), '-f', '-N'], []);
      return host;
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  async run(program: string, args: readonly string[], options: RunOptions = {}): Promise<ProgramResult> {
    const env = Object.entries({ LC_ALL: 'C', ...options.env }).map(([key, value]) => `${key}=${value}`);
    const command = ['env', ...env, program, ...args].map(shellWord).join(' ');
    const { env: _ours, ...rest } = options;
    return await this.#ssh(['-S', controlPath(this.#folder)], [command], rest);
  }

  async makePrivateFolder(base: string, name: string, owner: HostUser | undefined): Promise<string> {
    const path = join(base, name);
    const user = owner === undefined ? ['', ''] : [String(owner.uid), String(owner.gid)];
    await this.#script('makeFolder', `cannot make the private folder ${path}`, [base, path, ...user]);
    return path;
  }

  async removeFolder(path: string): Promise<void> {
    await this.#script('removeFolder', `cannot remove the folder ${path}`, [path]);
  }

  async removeFile(path: string): Promise<boolean> {
    return (await this.#script('removeFile', `cannot remove ${path}`, [path])).code === 0;
  }

  async listFolder(path: string): Promise<readonly string[]> {
    const { stdout } = await this.#script('listFolder', `cannot list the folder ${path}`, [path]);
    return stdout.toString('utf8').split('\n').filter(Boolean);
  }

  async readFile(path: string, maxBytes: number): Promise<Uint8Array | undefined> {
    const what = `cannot read ${path}`;
    const { code, stdout } = await this.#script('readFile', what, [path, String(maxBytes + 1)]);
    if (code === NOT_THERE) return undefined;
    if (stdout.length <= maxBytes) return stdout;
    throw new HypervisorError('HYPERVISOR_FAILED', `${what}: it has more than ${maxBytes} bytes`);
  }

  async exists(path: string): Promise<boolean> {
    return (await this.#script('exists', `cannot look at ${path}`, [path])).code === 0;
  }

  async freeBytes(path: string): Promise<number> {
    const what = `cannot tell the free space at ${path}`;
    const { stdout } = await this.#script('freeKiB', what, [path]);
    const kib = Number(stdout.toString('utf8').trim().split('\n').at(-1)?.split(/\s+/)[3]);
    if (Number.isSafeInteger(kib)) return kib * 1024;
    throw new HypervisorError('HYPERVISOR_FAILED', `${what}: df printed something unknown`);
  }

  /** A connection of its own, which lives on when this process ends; its control socket is in `localFolder`. */
  async forward(path: string, localFolder: string): Promise<string> {
    const local = socketPath(localFolder);
    const own = ['-M', '-S', controlPath(localFolder), '-f', '-N', '-o', 'ExitOnForwardFailure=yes'];
    await this.#ssh([...own, '-o', 'StreamLocalBindMask=0177', '-L', `${local}:${path}`], []);
    return local;
  }

  async unforward(localFolder: string): Promise<void> {
    await this.#exit(localFolder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#exit(this.#folder);
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Ends the connection whose control socket is in a folder. That it is gone already is what was wanted. */
  async #exit(folder: string): Promise<void> {
    const args = [
      ...formatSshOptions(this.#target),
      '-S',
      controlPath(folder),
      '-O',
      'exit',
      '--',
      this.#target.host,
    ];
    await runProgram('ssh', args, { timeoutMs: 10_000 });
  }

  async #ssh(
    options: readonly string[],
    command: readonly string[],
    run?: RunOptions,
  ): Promise<ProgramResult> {
    const args = [...formatSshOptions(this.#target), ...options, '--', this.#target.host, ...command];
    const result = await runProgram('ssh', args, run);
    // 255 is ssh's own; the programs that are run here do not end with it.
    if (result.code === 255 || (command.length === 0 && result.code !== 0))
      throw sshFailure(this.name, result.stderr);
    return result;
  }

  async #script(script: RemoteScript, what: string, args: readonly string[]): Promise<ProgramResult> {
    const result = await this.run('sh', ['-c', REMOTE_SCRIPTS[script], 'nbdelta', ...args]);
    if (result.code === 0 || result.code === NOT_THERE) return result;
    const isDenied = /permission denied|not permitted|not safe|read-only/i.test(result.stderr);
    throw new HypervisorError(
      isDenied ? 'HYPERVISOR_DENIED' : 'HYPERVISOR_FAILED',
      `${what} on ${this.name}: ${result.stderr}`,
      isDenied ? { hint: 'connect as root, or choose another place' } : {},
    );
  }
}

function controlPath(folder: string): string {
  socketPath(folder, `${CONTROL_NAME}${'.'.padEnd(CONTROL_SUFFIX, 'x')}`);
  return join(folder, CONTROL_NAME).replaceAll('%', '%%');
}
