import { UsageError } from '../../errors.js';
import type { SshTarget } from '../host/ssh-command.js';

const SSH_TRANSPORTS = ['ssh', 'libssh', 'libssh2'];

/**
 * The host that a libvirt connection URI leads to, for ssh; `undefined`: this one.
 * `qemu+ssh://[user@]host[:port]/system[?keyfile=FILE&no_verify=1]`
 * @throws UsageError when it is no URI, not of QEMU, or of a transport that ssh cannot follow.
 */
export function parseConnectUri(text: string): SshTarget | undefined {
  const uri = parse(text);
  const [driver, transport] = uri.protocol.slice(0, -1).split('+');
  if (driver !== 'qemu')
    throw new UsageError(`${text}: only QEMU guests can be backed up, not those of ${driver}`);
  if (uri.hostname === '') return undefined;
  if (transport === undefined || !SSH_TRANSPORTS.includes(transport)) {
    throw new UsageError(`${text}: another host is reached over ssh only`, {
      hint: 'write qemu+ssh://[USER@]HOST/system; its disks can be read over TLS with --listen',
    });
  }
  const keyFile = uri.searchParams.get('keyfile');
  return {
    host: uri.hostname.replace(/^\[|\]$/g, ''),
    user: uri.username === '' ? undefined : decodeURIComponent(uri.username),
    port: uri.port === '' ? undefined : Number(uri.port),
    keyFile: keyFile ?? undefined,
    noVerify: uri.searchParams.get('no_verify') === '1',
  };
}

function parse(text: string): URL {
  try {
    return new URL(text);
  } catch (cause) {
    throw new UsageError(`${JSON.stringify(text)} is no connection URI of libvirt`, {
      cause,
      hint: 'e.g. qemu:///system or qemu+ssh://root@host/system',
    });
  }
}
