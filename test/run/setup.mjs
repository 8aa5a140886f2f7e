/**
 * Makes a fresh clone ready: npm packages, build, and the programs that the tests compare nbdelta with.
 * Uses node's own modules only, because it runs before anything is installed.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Program → the Debian package that has it. */
export const PEERS = {
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  'qemu-storage-daemon': 'qemu-system-common',
  'qemu-system-x86_64': 'qemu-system-x86',
  nbdkit: 'nbdkit',
  nbdinfo: 'libnbd-bin',
  nbdcopy: 'libnbd-bin',
  'nbd-server': 'nbd-server',
  certtool: 'gnutls-bin',
  psktool: 'gnutls-bin',
  zstd: 'zstd',
  python3: 'python3',
  openssl: 'openssl',
  virsh: 'libvirt-clients',
  libvirtd: 'libvirt-daemon-system',
  busybox: 'busybox-static',
  cpio: 'cpio',
  ssh: 'openssh-client',
  sshd: 'openssh-server',
  e2fsck: 'e2fsprogs',
  'mkfs.ext4': 'e2fsprogs',
  guestfish: 'guestfish',
  unshare: 'util-linux',
};

/** Whether a missing program must fail the run instead of showing as a skip. */
export const STRICT = ['true', '1'].includes(process.env['CI'] ?? '');

export function say(line) {
  process.stdout.write(`${line}\n`);
}

/** Runs a program with our own output; returns its exit code (1 when a signal ended it or it did not start). */
export function execute(command, args, env = {}) {
  const result = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...env } });
  if (result.error !== undefined) say(`${command}: ${result.error.message}`);
  return result.status ?? 1;
}

function need(command, args, env) {
  const code = execute(command, args, env);
  if (code === 0) return;
  say(`setup: \`${command} ${args.join(' ')}\` failed with exit code ${code}`);
  process.exit(code);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // not there, or not for us: both mean that we cannot run it
  }
}

/** Some systems keep servers in folders that are not in an ordinary user's PATH. */
const FOLDERS = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];

export function hasProgram(name) {
  return FOLDERS.some(folder => folder !== '' && isExecutable(join(folder, name)));
}

function modified(path) {
  return existsSync(path) ? statSync(path).mtimeMs : Number.NEGATIVE_INFINITY;
}

function arePackagesFresh() {
  const installed = modified(join(ROOT, 'node_modules/.package-lock.json'));
  return installed >= modified(join(ROOT, 'package-lock.json'));
}

/** The lock file's versions, exactly. */
const NPM_INSTALL = ['ci', '--include=dev', '--no-audit', '--no-fund'];

/** Installs npm packages when node_modules is missing or older than the lock file. */
export function ensurePackages() {
  if (arePackagesFresh()) return;
  say('setup: installing npm packages');
  if (execute('npm', NPM_INSTALL) === 0) return;
  // zstd-napi compiles itself where it finds no prebuilt binary.
  if (hasProgram('g++') && hasProgram('make') && hasProgram('python3')) process.exit(1);
  installDebianPackages(['g++', 'make', 'python3']);
  need('npm', NPM_INSTALL);
}

function listFiles(folder, suffix) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true }).filter(file => file.endsWith(suffix));
}

/** What `bundle.mjs` makes of the modules: whole at each build. */
const BUNDLE = 'bundle/';

function removeOrphans() {
  for (const file of listFiles(join(ROOT, 'dist'), '.js')) {
    if (file.startsWith(BUNDLE)) continue;
    const stem = file.slice(0, -'.js'.length);
    if (existsSync(join(ROOT, 'src', `${stem}.ts`))) continue;
    for (const suffix of ['.js', '.js.map', '.d.ts'])
      rmSync(join(ROOT, 'dist', stem + suffix), { force: true });
  }
}

/** Written after a build without errors: the compiler leaves files behind when it complains, too. */
const BUILT = join(ROOT, 'dist/.built');

function isBuildFresh() {
  const built = modified(BUILT);
  const sources = listFiles(join(ROOT, 'src'), '.ts');
  const hasOutput = file => existsSync(join(ROOT, 'dist', file.replace(/\.ts$/, '.js')));
  if (!hasOutput(`${BUNDLE}main.js`)) return false;
  const inputs = [
    'tsconfig.json',
    'package-lock.json',
    'test/run/bundle.mjs',
    ...sources.map(file => join('src', file)),
  ];
  return sources.every(hasOutput) && inputs.every(file => modified(join(ROOT, file)) <= built);
}

/** `npm run build` when a source is newer than the last good build; a module without source goes. */
export function ensureBuild() {
  removeOrphans();
  if (isBuildFresh()) return;
  say('setup: building dist');
  need('npm', ['run', '--silent', 'build']);
  writeFileSync(BUILT, '');
}

/** Whoever else installs at this moment is waited for. Seconds. */
const LOCK_TIMEOUT = 300;

/** @returns whether all of them are installed and configured: a program can be there when its package is neither. */
function installDebianPackages(packages) {
  // RUNLEVEL=1: a server package must not start its server on this machine.
  const env = { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const apt = (...args) =>
    execute('apt-get', ['-q', '-o', `DPkg::Lock::Timeout=${LOCK_TIMEOUT}`, ...args], env) === 0;
  const install = () => apt('install', '-y', '--no-install-recommends', ...packages);
  say(`setup: installing Debian packages: ${packages.join(' ')}`);
  if (install()) return true;
  say('setup: once more after apt-get update');
  apt('update');
  execute('dpkg', ['--configure', '-a'], env);
  return install();
}

function missingPrograms() {
  return Object.keys(PEERS).filter(program => !hasProgram(program));
}

/** Installs what is missing where we may; returns the programs that are missing still. */
export function ensurePeers() {
  const missing = missingPrograms();
  if (missing.length === 0) return [];
  const packages = [...new Set(missing.map(program => PEERS[program]))];
  if (process.getuid?.() === 0 && hasProgram('apt-get') && !installDebianPackages(packages))
    say('setup: apt-get failed: a program that it left half installed may fail in strange ways');
  const left = missingPrograms();
  if (left.length > 0) {
    const hint = [...new Set(left.map(program => PEERS[program]))].join(' ');
    say(`setup: missing programs: ${left.join(' ')} (Debian: apt-get install ${hint})`);
    if (!STRICT) say('setup: tests that need them will show as skipped');
  }
  return left;
}

// `node test/run/setup.mjs` alone makes everything ready.
if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === process.argv[1]) {
  ensurePackages();
  ensureBuild();
  if (ensurePeers().length > 0 && STRICT) process.exit(1);
}
