import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { errorLine, UsageError } from '../../errors.js';
import type { ServedPoint, ServeOptions } from '../../operations/serve.js';
import { parseListenAddress } from '../arguments/listen-address.js';
import { sizeInBytes } from '../arguments/numbers.js';
import { POINT_HELP, withCommonOptions, withRepository } from '../command-options.js';
import { formatBytes } from '../display/format.js';
import { formatTable } from '../display/table.js';
import type { View } from '../display/view.js';
import { type CommandContext, type CommonOptions, runCommand } from '../run-command.js';

const EXAMPLES = [
  'serve web1 --repo /backup',
  'serve web1@2026-11-22 --disk vda --socket /run/web1.sock',
  'serve web1 --disk vda --listen localhost:10809   # then: qemu-img convert nbd://localhost/vda …',
  'serve web1 --since 2026-11-21                    # with a dirty bitmap of what changed since',
  'serve web1 --listen 0.0.0.0:10809 --tls-certificates /etc/pki/nbdelta',
];

interface Options extends CommonOptions {
  readonly repo: string;
  readonly disk?: string;
  readonly socket?: string;
  readonly listen?: ServeOptions['listen'];
  readonly since?: readonly string[];
  readonly cache?: number;
  readonly tlsCertificates?: string;
  readonly tlsVerifyClients?: boolean;
  readonly tlsPskFile?: string;
}

export function addServeCommand(program: Command): void {
  const command = program
    .command('serve')
    .description('serve a point read-only over NBD until Ctrl-C; nothing is restored first')
    .argument('<point>', POINT_HELP)
    .option('--disk <disk>', 'only this disk')
    .option('--socket <path>', 'listen on this unix socket (default: one in a private temporary folder)')
    .addOption(
      new Option(
        '--listen <host:port>',
        'listen on TCP, unencrypted unless TLS is asked for; port 0 takes a free one',
      )
        .argParser(parseListenAddress)
        .conflicts('socket'),
    )
    .option(
      '--since <point>',
      'offer what changed since this point as dirty bitmap ID of that point (repeatable)',
      collect,
    )
    .option('--cache <size>', 'most memory for decoded frames, for each disk (default: 32M)', sizeInBytes);
  withTls(command);
  withRepository(command);
  withCommonOptions(command, EXAMPLES).action((point: string, options: Options) =>
    runCommand(options, async context => {
      const { signal } = context;
      await using place = await choosePlace(options);
      const { serve } = await import('../../operations/serve.js');
      await using served = await serve({
        repository: options.repo,
        point,
        disk: options.disk,
        listen: place.listen,
        since: options.since,
        cacheBytes: options.cache,
        tls: serverTls(options),
        signal,
        onError: error => context.note(`nbdelta: ${errorLine(error)}`),
      });
      await announce(context, served);
      if (!signal.aborted) await once(signal, 'abort');
      return undefined;
    }),
  );
}

function withTls(command: Command): void {
  command
    .option(
      '--tls-certificates <folder>',
      'serve only over TLS, with server-cert.pem and server-key.pem from this folder',
    )
    .option('--tls-verify-clients', 'only clients with a certificate of the ca-cert.pem in that folder')
    .addOption(
      new Option(
        '--tls-psk-file <file>',
        'serve only over TLS with pre-shared keys, USER:HEXKEY lines',
      ).conflicts('tlsCertificates'),
    );
}

function serverTls({ tlsCertificates, tlsVerifyClients, tlsPskFile }: Options): ServeOptions['tls'] {
  if (tlsPskFile !== undefined) return { kind: 'psk', pskFile: tlsPskFile };
  if (tlsCertificates !== undefined) {
    return {
      ...{ kind: 'x509', certificates: tlsCertificates },
      requireClientCertificate: tlsVerifyClients === true,
    };
  }
  if (tlsVerifyClients) throw new UsageError('--tls-verify-clients needs --tls-certificates');
  return undefined;
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

interface Place extends AsyncDisposable {
  readonly listen: ServeOptions['listen'];
}

async function choosePlace({ socket, listen }: Options): Promise<Place> {
  const nothing = async () => undefined;
  if (listen !== undefined) return { listen, [Symbol.asyncDispose]: nothing };
  if (socket !== undefined) {
    return { listen: { kind: 'unix', path: resolve(socket) }, [Symbol.asyncDispose]: nothing };
  }
  // mkdtemp makes it for our own user only: the socket gives away a whole disk.
  const folder = await mkdtemp(join(tmpdir(), 'nbdelta-'));
  return {
    listen: { kind: 'unix', path: join(folder, 'nbd.sock') },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

async function announce(context: CommandContext, served: ServedPoint): Promise<void> {
  const { machine, point, disks } = served;
  await context.print({
    json: () => ({ machine, point, disks, pid: process.pid }),
    text: view => formatServed(served, view),
  });
  context.note('serving until Ctrl-C');
}

function* formatServed({ machine, point, disks }: ServedPoint, { style }: View): Generator<string> {
  yield `serving ${style.bold(`${machine}@${point}`)}, read-only`;
  yield* formatTable(
    [{ title: 'DISK' }, { title: 'SIZE', align: 'right' }, { title: 'URI' }],
    disks.map(({ disk, size, uri }) => [style.bold(disk), formatBytes(size), uri]),
    style,
  );
  for (const { disk, bitmaps } of disks) {
    for (const name of bitmaps) yield `${style.bold(disk)}: dirty bitmap ${name}`;
  }
}
