import { HypervisorError } from '../../errors.js';

/** Whom ssh connects to; the rest is up to the user's ssh configuration. */
export interface SshTarget {
  readonly host: string;
  readonly user?: string | undefined;
  readonly port?: number | undefined;
  readonly keyFile?: string | undefined;
  /** Take any host key: libvirt's `no_verify=1`. */
  readonly noVerify?: boolean | undefined;
}

/** Options that come with every call: never a question, and a dead peer is noticed within a minute. */
export function formatSshOptions({ user, port, keyFile, noVerify }: SshTarget): readonly string[] {
  const settings = [
    'BatchMode=yes',
    'ConnectTimeout=20',
    'ServerAliveInterval=15',
    'ServerAliveCountMax=4',
    // Whatever the user's configuration says, a connection is shared only where we say so.
    'ControlMaster=no',
    'ControlPersist=no',
    ...(noVerify === true ? ['StrictHostKeyChecking=no'] : []),
  ];
  return [
    '-T',
    ...settings.flatMap(setting => ['-o', setting]),
    ...(user === undefined ? [] : ['-l', user]),
    ...(port === undefined ? [] : ['-p', String(port)]),
    ...(keyFile === undefined ? [] : ['-i', keyFile]),
  ];
}

/** A word that a POSIX shell reads back exactly. */
export function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** ssh itself failed. */
export function sshFailure(name: string, stderr: string): HypervisorError {
  const isDenied = /permission denied|host key verification failed|too many authentication/i.test(stderr);
  return new HypervisorError(
    isDenied ? 'HYPERVISOR_DENIED' : 'HYPERVISOR_UNREACHABLE',
    `no ssh connection to ${name}: ${stderr || 'it says nothing'}`,
    {
      hint: isDenied
        ? `\`ssh ${name}\` must work without questions: a key, and the host's key in known_hosts`
        : 'is the host up, and does its sshd answer?',
      retryable: !isDenied,
    },
  );
}
