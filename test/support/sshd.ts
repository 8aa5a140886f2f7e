import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { freePort, portAccepts, type RunningProcess, runOk, startProcess } from './processes.js';
import { findProgram } from './programs.js';
import { type TempFolder, tempFolder } from './temp-folder.js';

/** A real sshd on loopback with keys of its own, and an ssh that knows it; nothing of the user's is read or written. */
export interface Sshd extends AsyncDisposable {
  readonly port: number;
  /** The client's private key. */
  readonly keyFile: string;
  /** PATH with the ssh in front that knows this server's key. */
  readonly path: string;
  /** What libvirt needs in place of netcat, to reach a daemon's socket. */
  readonly netcat: string;
}

const NETCAT = `#!/usr/bin/env python3
import os, select, socket, sys
if '-U' not in sys.argv: sys.exit(1)
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[-1])
while True:
    ready, _, _ = select.select([0, peer], [], [])
    if 0 in ready:
        data = os.read(0, 65536)
        if not data: break
        peer.sendall(data)
    if peer in ready:
        data = peer.recv(65536)
        if not data: break
        os.write(1, data)
`;

export async function startSshd(): Promise<Sshd> {
  const folder = await tempFolder();
  const port = await freePort();
  for (const name of ['host', 'client']) {
    await runOk('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', folder.file(name)]);
  }
  const publicKey = await readFile(folder.file('host.pub'), 'utf8');
  await writeFile(folder.file('known_hosts'), `[127.0.0.1]:${port} ${publicKey}`);
  await writeScript(folder.file('netcat'), NETCAT);
  await mkdir(folder.file('bin'));
  const ssh = `exec ${findProgram('ssh')} -F '${folder.file('ssh_config')}' "$@"`;
  await writeScript(folder.file('bin/ssh'), `#!/bin/sh\n${ssh}\n`);
  await writeFile(folder.file('ssh_config'), `UserKnownHostsFile ${folder.file('known_hosts')}\n`);
  const server = await listen(folder, port);
  return {
    port,
    keyFile: folder.file('client'),
    path: `${folder.file('bin')}:${process.env['PATH']}`,
    netcat: folder.file('netcat'),
    async [Symbol.asyncDispose]() {
      await server.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function writeScript(path: string, text: string): Promise<void> {
  await writeFile(path, text);
  await chmod(path, 0o755);
}

async function listen(folder: TempFolder, port: number): Promise<RunningProcess> {
  // Debian's sshd wants it, whatever its configuration says.
  await mkdir('/run/sshd', { recursive: true });
  const lines = [
    ...[`Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${folder.file('host')}`],
    ...[`AuthorizedKeysFile ${folder.file('client.pub')}`, 'StrictModes no', 'UsePAM no'],
    ...['PasswordAuthentication no', 'PermitRootLogin yes', `PidFile ${folder.file('pid')}`],
  ];
  await writeFile(folder.file('sshd_config'), `${lines.join('\n')}\n`);
  // By its absolute path, as it starts itself again for every connection.
  const program = findProgram('sshd') ?? 'sshd';
  return await startProcess(program, ['-D', '-e', '-f', folder.file('sshd_config')], {
    ready: portAccepts(port),
  });
}
