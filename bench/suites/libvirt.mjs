/** Against virtnbdbackup, each on a libvirt domain of its own with the same disk; start-up included. */
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { hasProgram } from '../../test/run/setup.mjs';
import { nbdelta } from '../contenders.mjs';
import { contest, fasterThan, memoryAtMost } from '../contest.mjs';
import { openNoise, openRandom, openText } from '../disk-image.mjs';
import { openSession } from '../libvirt-session.mjs';
import { BLOCK, CHANGED } from '../prepared.mjs';
import { say } from '../report.mjs';
import { runTimed } from '../timed-command.mjs';

const MIB = 2 ** 20;
const URI = 'qemu:///session';
const NEEDED = ['virsh', 'libvirtd', 'qemu-system-x86_64', 'qemu-img', 'virtnbdbackup', 'virtnbdrestore'];
/** A guest for each tool: their checkpoints stay apart. */
const GUESTS = { ours: 'bench-nbdelta', theirs: 'bench-virtnbdbackup' };

/** Contents of blocks; many, so that no two of a frame are alike. */
const PATTERNS = 64;

function domainXml(name, image) {
  return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='q35'>hvm</type></os>
    <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/>
    <source file='${image}'/><target dev='vda' bus='virtio'/></disk>
    <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>`;
}

/** A guest without an operating system, paused: all that it does is to have a disk. */
function startGuest({ scratch }, session, name) {
  const image = `${session.work}/${name}.qcow2`;
  session.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', scratch.path('disk.raw'), image);
  writeFileSync(scratch.path('domain.xml'), domainXml(name, image), { mode: 0o644 });
  session.run('virsh', '-q', '-c', URI, 'define', scratch.path('domain.xml'));
  session.run('virsh', '-q', '-c', URI, 'start', '--paused', name);
}

/** Writes {@link CHANGED} scattered blocks, half noise and half text, into a guest's disk. */
function writeBlocks({ scratch, size }, session, name, seed) {
  const next = openRandom(seed);
  const kinds = [openNoise(seed), openText(seed)];
  const files = Array.from({ length: PATTERNS }, (_, index) => {
    const path = scratch.path(`pattern${index}`);
    writeFileSync(path, kinds[index % 2](BLOCK), { mode: 0o644 });
    return path;
  });
  const stride = Math.floor(size / BLOCK / CHANGED);
  const lines = Array.from({ length: CHANGED }, (_, index) => {
    const block = index * stride + (next() % Math.max(1, stride - 1));
    const write = `qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \\"write -s ${files[index % PATTERNS]} ${block * BLOCK} ${BLOCK}\\"`;
    return `qemu-monitor-command ${name} --hmp "${write}"`;
  });
  // qemu-io talks to QEMU's own output; what did not work is in virsh's errors, and in the size of the backup.
  const { status, stderr } = session.attempt(`${lines.join('\n')}\n`, 'virsh', '-q', '-c', URI);
  if (status !== 0 || stderr.trim() !== '')
    throw new Error(`no blocks written: ${stderr.trim().split('\n')[0]}`);
}

function dropCheckpoints(session, name) {
  const names = session.run('virsh', '-q', '-c', URI, 'checkpoint-list', name, '--name', '--topological');
  for (const checkpoint of names.split('\n').filter(Boolean).reverse()) {
    session.run('virsh', '-q', '-c', URI, 'checkpoint-delete', name, checkpoint);
  }
}

/** A folder of the session's user, empty. */
function freshFolder(session, name) {
  const path = `${session.work}/${name}`;
  session.run('rm', '-rf', path);
  mkdirSync(path);
  if (process.getuid() === 0) chownSync(path, 65534, 65534);
  return path;
}

/** How each tool is called. */
function openTools({ scratch }, session) {
  const where = { repository: `${session.work}/repository`, output: `${session.work}/output` };
  const folders = [
    '--scratch',
    session.work,
    '--socket-dir',
    session.work,
    '--state-dir',
    `${session.work}/state`,
  ];
  const ours = (...args) => runTimed(scratch, [session.command(...nbdelta(...args))]);
  const theirs = (...args) => runTimed(scratch, [session.command(...args)]);
  return {
    ...where,
    backup: level =>
      ours(
        ...['backup', `libvirt:${GUESTS.ours}`, '--connect', URI, '--repo', where.repository],
        ...['--level', level, ...folders, '--quiet'],
      ),
    restore: to =>
      ours('restore', GUESTS.ours, '--disk', 'vda', '--to', to, '--repo', where.repository, '--quiet'),
    theirBackup: level =>
      theirs(
        ...['virtnbdbackup', '-U', URI, '-d', GUESTS.theirs, '-l', level, '-z', '-n'],
        ...['-o', where.output, '-S', session.work, '-f', `${session.work}/v.sock`],
      ),
    theirRestore: to =>
      theirs('virtnbdrestore', '-U', URI, '-i', where.output, '-o', to, '-f', `${session.work}/r.sock`, '-n'),
  };
}

async function compareFulls(bench, session, tools) {
  const contenders = [
    {
      name: 'nbdelta backup libvirt:',
      run: () => {
        dropCheckpoints(session, GUESTS.ours);
        freshFolder(session, 'repository');
        return tools.backup('full');
      },
    },
    {
      name: 'virtnbdbackup -l full -z',
      run: () => {
        dropCheckpoints(session, GUESTS.theirs);
        freshFolder(session, 'output');
        return tools.theirBackup('full');
      },
    },
  ];
  const targets = [fasterThan(1, 'as fast as virtnbdbackup', 3), memoryAtMost(161 * MIB)];
  await contest(bench, {
    suite: 'libvirt',
    name: 'libvirt guest: full',
    bytes: bench.bytes,
    contenders,
    targets,
  });
}

async function compareRestores(bench, session, tools) {
  const restoring = (name, restore) => ({
    name,
    run: async () => {
      const folder = freshFolder(session, 'restored');
      const sample = await restore(folder);
      session.run('rm', '-rf', folder);
      return sample;
    },
  });
  const contenders = [
    restoring('nbdelta restore, to qcow2', folder => tools.restore(`${folder}/vda.qcow2`)),
    restoring('virtnbdrestore', folder => tools.theirRestore(folder)),
  ];
  const targets = [fasterThan(1, 'as fast as virtnbdrestore', 5), memoryAtMost(161 * MIB)];
  await contest(bench, {
    suite: 'libvirt',
    name: 'libvirt guest: restore',
    bytes: bench.bytes,
    contenders,
    targets,
  });
}

async function compareIncrementals(bench, session, tools) {
  let seed = 100;
  const changed = (guest, backup) => () => {
    writeBlocks(bench, session, guest, seed++);
    return backup();
  };
  const contenders = [
    { name: 'nbdelta backup libvirt:', run: changed(GUESTS.ours, () => tools.backup('incremental')) },
    { name: 'virtnbdbackup -l inc -z', run: changed(GUESTS.theirs, () => tools.theirBackup('inc')) },
  ];
  const targets = [fasterThan(1, 'as fast as virtnbdbackup', 4), memoryAtMost(161 * MIB)];
  const name = 'libvirt guest: incremental, 200 MiB';
  await contest(bench, { suite: 'libvirt', name, bytes: CHANGED * BLOCK, contenders, targets });
}

export async function compareLibvirt(bench) {
  const absent = NEEDED.filter(program => !hasProgram(program));
  if (absent.length > 0) {
    say(`\nlibvirt guests: left out, ${absent.join(' and ')} not installed`);
    return;
  }
  // What earlier comparisons left is not needed any more, and memory is.
  const done = ['full', 'full.zst', 'chain', 'long', 'flat', 'overlay.qcow2', 'changed.raw', 'restored'];
  bench.scratch.remove(...done);
  const session = await openSession(bench.scratch, Object.values(GUESTS));
  try {
    for (const name of Object.values(GUESTS)) startGuest(bench, session, name);
    const tools = openTools(bench, session);
    await compareFulls(bench, session, tools);
    await compareRestores(bench, session, tools);
    await compareIncrementals(bench, session, tools);
  } finally {
    await session.stop();
    bench.scratch.remove('libvirt');
  }
}
