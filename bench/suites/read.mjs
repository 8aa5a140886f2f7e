/** Reading alone, to nothing: several connections, one, and TLS. */
import { mkdirSync } from 'node:fs';
import { hasProgram } from '../../test/run/setup.mjs';
import { peer, script } from '../contenders.mjs';
import { contest, fasterThan } from '../contest.mjs';
import { run } from '../prepared.mjs';
import { serveImage } from '../qemu-export.mjs';
import { say } from '../report.mjs';
import { runTimed } from '../timed-command.mjs';

const XEN_ORCHESTRA = {
  name: "Xen Orchestra's @vates/nbd-client",
  missing: 'its dependencies cannot be installed from the npm registry',
};

async function compare(bench, name, uri, { ours = [], theirs = [], atLeast, more = [] }) {
  const { scratch, bytes } = bench;
  await contest(bench, {
    suite: 'read',
    name,
    bytes,
    contenders: [
      {
        name: 'nbdelta, allocated ranges',
        run: () => runTimed(scratch, [script('read-export.mjs', uri, ...ours)]),
      },
      peer('nbdcopy URI null:', ['nbdcopy'], () => runTimed(scratch, [['nbdcopy', ...theirs, uri, 'null:']])),
      ...more,
    ],
    targets: [
      fasterThan(1, 'as fast as nbdcopy', atLeast),
      {
        what: "CPU beside nbdcopy's",
        atMost: 1,
        of: ({ contenders: [we, they] }) => we.cpu / they.cpu,
      },
    ],
  });
}

/** A folder for the server and one for the client, as QEMU and libnbd read them; the server is `localhost`. */
function makeCertificates(scratch) {
  const [server, client] = [scratch.path('tls-server'), scratch.path('tls-client')];
  mkdirSync(server);
  mkdirSync(client);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const authority = ['-keyout', `${client}/ca-key.pem`, '-out', `${client}/ca-cert.pem`, '-subj', '/CN=ca'];
  const usage = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign'];
  run('openssl', 'req', '-x509', ...key, ...authority, ...usage);
  run('cp', `${client}/ca-cert.pem`, server);
  const request = [
    '-keyout',
    `${server}/server-key.pem`,
    '-out',
    `${server}/request.pem`,
    '-subj',
    '/CN=localhost',
  ];
  run('openssl', 'req', ...key, ...request, '-addext', 'subjectAltName=DNS:localhost');
  const signer = [
    '-CA',
    `${client}/ca-cert.pem`,
    '-CAkey',
    `${client}/ca-key.pem`,
    '-set_serial',
    '2',
    '-days',
    '2',
  ];
  const signed = [
    '-in',
    `${server}/request.pem`,
    '-out',
    `${server}/server-cert.pem`,
    '-copy_extensions',
    'copy',
  ];
  run('openssl', 'x509', '-req', ...signed, ...signer);
  return { server, client };
}

async function compareTls(bench) {
  if (!hasProgram('openssl')) {
    say('\nread over TLS: left out, openssl not installed');
    return;
  }
  const folders = makeCertificates(bench.scratch);
  const object = `tls-creds-x509,id=tls0,endpoint=server,dir=${folders.server},verify-peer=off`;
  const served = await serveImage(bench.scratch, 'disk.raw', 'raw', [
    '-r',
    '--object',
    object,
    '--tls-creds',
    'tls0',
  ]);
  const uri = `nbds+unix:///disk?socket=${served.socket}&tls-certificates=${folders.client}`;
  await compare(bench, 'read over TLS', uri, { atLeast: 1 });
  await served.stop();
}

export async function compareRead(bench) {
  const served = await serveImage(bench.scratch, 'disk.raw', 'raw', ['-r']);
  await compare(bench, 'read', served.uri, { atLeast: 1.15, more: [XEN_ORCHESTRA] });
  await compare(bench, 'read, one connection', served.uri, {
    atLeast: 1.15,
    ours: ['--connections', '1'],
    theirs: ['--connections=1'],
  });
  await served.stop();
  await compareTls(bench);
}
