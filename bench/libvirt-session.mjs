/**
 * A private libvirt, `qemu:///session`, in a folder of the run: nothing of the machine's own. Root plays an ordinary user,
 * because a session daemon of root does not exist; whoever is compared runs as that user too.
 */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const NOBODY = 65534;
const READY_TIMEOUT_MS = 30_000;

/** Stands for guests, whose parent libvirtd is: they end with the run. */
function ownGuests(scratch, folder, names) {
  const kill = () => {
    for (const name of names) {
      const file = `${folder}/run/libvirt/qemu/run/${name}.pid`;
      if (existsSync(file)) spawnSync('kill', ['-9', readFileSync(file, 'utf8').trim()]);
    }
  };
  scratch.own({ kill, once: () => undefined });
  return kill;
}

function makeFolders(folder, isRoot) {
  const paths = ['', '/run', '/conf', '/conf/libvirt', '/cache', '/data', '/work'].map(
    path => `${folder}${path}`,
  );
  for (const path of paths) mkdirSync(path, { mode: 0o700 });
  writeFileSync(`${folder}/conf/libvirt/qemu.conf`, 'stdio_handler = "file"\nsecurity_driver = "none"\n');
  if (isRoot)
    for (const path of [...paths, `${folder}/conf/libvirt/qemu.conf`]) chownSync(path, NOBODY, NOBODY);
}

/**
 * Starts the daemon for guests of these names.
 * @returns `work`, a folder for the user's files; `command(...)`, a command as that user with the session's environment;
 *   `run(...)`, which runs one that must work; and `stop`.
 */
export async function openSession(scratch, names) {
  const folder = scratch.path('libvirt');
  const isRoot = process.getuid() === 0;
  makeFolders(folder, isRoot);
  if (isRoot) chmodSync(scratch.folder, 0o711);
  const variables = { HOME: folder, PATH: process.env.PATH, LC_ALL: 'C' };
  for (const [key, name] of [
    ['RUNTIME_DIR', 'run'],
    ['CONFIG_HOME', 'conf'],
    ['CACHE_HOME', 'cache'],
    ['DATA_HOME', 'data'],
    ['STATE_HOME', 'data'],
  ])
    variables[`XDG_${key}`] = `${folder}/${name}`;
  const user = isRoot ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'] : [];
  const prefix = [
    ...user,
    'env',
    '-i',
    ...Object.entries(variables).map(([key, value]) => `${key}=${value}`),
  ];
  const command = (...args) => [...prefix, ...args];
  const attempt = (input, ...args) => {
    const [program, ...rest] = command(...args);
    return spawnSync(program, rest, { encoding: 'utf8', input, cwd: folder, maxBuffer: 2 ** 26 });
  };
  const run = (...args) => {
    const { status, stdout, stderr } = attempt('', ...args);
    if (status !== 0) throw new Error(`${args.slice(0, 4).join(' ')}: ${stderr.trim()}`);
    return stdout;
  };
  const killGuests = ownGuests(scratch, folder, names);
  const [program, ...rest] = command('libvirtd');
  const daemon = scratch.own(spawn(program, rest, { stdio: 'ignore', cwd: folder }));
  const ended = new Promise(resolve => daemon.once('close', resolve));
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (attempt('', 'virsh', '-q', '-c', 'qemu:///session', 'version').status !== 0) {
    if (daemon.exitCode !== null || performance.now() > deadline) throw new Error('libvirtd is not ready');
    await sleep(100);
  }
  const stop = async () => {
    killGuests();
    daemon.kill('SIGKILL');
    await ended;
  };
  return { work: `${folder}/work`, command, run, attempt, stop };
}
