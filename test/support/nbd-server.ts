import { writeFile } from 'node:fs/promises';
import { startDaemon } from './daemon.js';
import type { NbdAddress, NbdServerHandle } from './nbd-server-handle.js';
import { waitFor } from './processes.js';
import { addressGreets, startServer } from './server-lifetime.js';
import type { TempFolder } from './temp-folder.js';

export interface NbdServerOptions {
  /** Export name → raw file. The first is the handle's own export. */
  readonly exports: Readonly<Record<string, string>>;
  readonly transport?: 'unix' | 'tcp';
  /** More lines for every export's section: `maxconnections = 1`. */
  readonly settings?: readonly string[];
}

function listenLines(address: NbdAddress): string[] {
  if (address.kind === 'unix') return [`unixsock = ${address.socket}`];
  return ['listenaddr = 127.0.0.1', `port = ${address.port}`];
}

function configuration(options: NbdServerOptions, address: NbdAddress): string {
  const sections = Object.entries(options.exports).map(([name, file]) =>
    [`[${name}]`, `exportname = ${file}`, 'readonly = true', ...(options.settings ?? [])].join('\n'),
  );
  return `${['[generic]', 'allowlist = true', ...listenLines(address), ...sections].join('\n')}\n`;
}

/** Starts Debian's `nbd-server`: no structured replies, no meta contexts, the least that a server can do. */
export function startNbdServer(options: NbdServerOptions): Promise<NbdServerHandle> {
  const start = async (address: NbdAddress, folder: TempFolder) => {
    const config = folder.file('config');
    await writeFile(config, configuration(options, address));
    // With -d it would not fork at all and end after its first client.
    const daemon = await startDaemon(
      'nbd-server',
      ['-C', config, '-p', folder.file('pid')],
      folder.file('pid'),
    );
    await waitFor(() => addressGreets(address)(daemon), 'a greeting of nbd-server');
    return daemon;
  };
  const exportName = Object.keys(options.exports)[0] ?? '';
  const transport = options.transport ?? 'unix';
  return startServer({ exportName, tls: false, transport, start });
}
