import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type RunOptions, type RunResult, run } from '../processes.js';

/**
 * Mounts, says so, and waits until the other end of its standard input is gone, however that happened. Then everything
 * that still lives in this mount namespace is killed: libvirtd's guests are nobody's children, and would outlive a
 * test worker that crashed.
 */
const HOLD = `
set -e
while [ $# -gt 1 ]; do mkdir -p "$1"; mount --bind "$2" "$1"; shift 2; done
echo mounted
cat >/dev/null
set +e
found=yes
while [ -n "$found" ]; do
  found=
  for process in /proc/[0-9]*; do
    [ "$process" = "/proc/$$" ] && continue
    [ "$process/ns/mnt" -ef /proc/self/ns/mnt ] && found=yes && kill -9 "\${process#/proc/}"
  done 2>/dev/null
  [ -z "$found" ] || sleep 0.05
done
`;

export interface MountNamespace extends AsyncDisposable {
  /** The process that keeps it. */
  readonly pid: number;
  /** Runs a program where the mounts are. */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>;
}

/**
 * Opens a mount namespace in which each path of `mounts` is the folder given for it; the folders must be there. At
 * the end, or with this process, every process in it is killed. Needs root.
 */
export async function openMountNamespace(mounts: Readonly<Record<string, string>>): Promise<MountNamespace> {
  const args = ['-m', '--propagation', 'slave', 'sh', '-c', HOLD, 'hold', ...Object.entries(mounts).flat()];
  // Detached: Ctrl-C in a terminal must not end it before it has done its last work.
  const holder = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const ended = once(holder, 'close');
  let complaint = '';
  holder.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  await Promise.race([once(holder.stdout, 'data'), ended]);
  if (holder.exitCode !== null) throw new Error(`no mount namespace: ${complaint}`);
  const pid = holder.pid!;
  return {
    pid,
    run: (command, args, options) => run('nsenter', ['-m', '-t', String(pid), command, ...args], options),
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await ended;
    },
  };
}
