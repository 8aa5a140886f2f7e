import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HypervisorError } from '../../errors.js';
import type { Host, HostUser } from './host.js';
import { oneLine, type ProgramResult, type RunOptions, runProgram } from './run-program.js';
import { socketPath } from './socket-folder.js';
import { formatSshOptions, type SshTarget, shellWord, sshFailure } from './ssh-command.js';
import { SshMaster } from './ssh-master.js';
import { REMOTE_SCRIPTS, type RemoteScript } from './ssh-scripts.js';

/** ssh binds its control socket under a longer name first (a dot and 16 letters), and moves it then. */
const CONTROL_NAME = 'c';
const LOG_NAME = 'log';
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
  readonly #master: SshMaster;

  private constructor(target: SshTarget, folder: string, master: SshMaster) {
    this.#target = target;
    this.#folder = folder;
    this.#master = master;
    this.name = destination(target);
  }

  /** @throws HypervisorError HYPERVISOR_UNREACHABLE, HYPERVISOR_DENIED. */
  static async open(target: SshTarget): Promise<SshHost> {
    const folder = await mkdtemp(join(tmpdir(), 'nbdelta-ssh-'));
    try {
      const args = [...formatSshOptions(target), '-M', '-S', controlPath(folder), '--', target.host];
      return new SshHost(target, folder, await SshMaster.open(destination(target), args));
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  async run(program: string, args: readonly string[], options: RunOptions = {}): Promise<ProgramResult> {
    const env = Object.entries({ LC_ALL: 'C', ...options.env }).map(([key, value]) => `${key}=${value}`);
    const command = ['env', ...env, program, ...args].map(shellWord).join(' ');
    const { env: _ours, ...rest } = options;
    const ssh = [...formatSshOptions(this.#target), '-S', controlPath(this.#folder), '--', this.#target.host];
    const result = await runProgram('ssh', [...ssh, command], rest);
    // 255 is ssh's own; the programs that are run here do not end with it.
    if (result.code === 255) throw sshFailure(this.name, result.stderr);
    return result;
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
    const forward = ['-o', 'StreamLocalBindMask=0177', '-L', `${local}:${path}`];
    const args = [...formatSshOptions(this.#target), ...own, ...forward, '--', this.#target.host];
    // What goes to the background keeps its output open (OpenSSH before 8.5): nobody would ever see its end.
    const log = join(localFolder, LOG_NAME);
    const { code } = await runProgram('sh', [
      '-c',
      'exec "$@" </dev/null >/dev/null 2>"$0"',
      log,
      'ssh',
      ...args,
    ]);
    if (code !== 0) throw sshFailure(this.name, await readLog(log));
    return local;
  }

  async unforward(localFolder: string): Promise<void> {
    const control = controlPath(localFolder);
    const args = [...formatSshOptions(this.#target), '-S', control, '-O', 'exit', '--', this.#target.host];
    // That it is gone already is what was wanted.
    await runProgram('ssh', args, { timeoutMs: 10_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#master[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
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

function destination({ user, host }: SshTarget): string {
  return user === undefined ? host : `${user}@${host}`;
}

async function readLog(path: string): Promise<string> {
  return oneLine(await readFile(path, 'utf8').catch(() => ''));
}

function controlPath(folder: string): string {
  socketPath(folder, `${CONTROL_NAME}${'.'.padEnd(CONTROL_SUFFIX, 'x')}`);
  return join(folder, CONTROL_NAME).replaceAll('%', '%%');
}
