import { UsageError } from '../../errors.js';
import { queryObjects, queryProperty } from './qemu-state.js';
import type { QmpClient } from './qmp-client.js';

const HINT = 'start QEMU with -object tls-creds-x509,id=backup,endpoint=server,verify-peer=on,dir=FOLDER';

/**
 * The server credentials that QEMU already has: their files lie where QEMU can read them, which is not our business to
 * arrange. Only those that ask the client for its certificate: whoever reaches the port could read the disks.
 * @throws UsageError when there are none, or several.
 */
export async function findTlsCredentials(client: QmpClient): Promise<string> {
  const objects = await queryObjects(client);
  const found: string[] = [];
  for (const { name } of objects.filter(({ type }) => type === 'child<tls-creds-x509>')) {
    const read = (property: string) => queryProperty(client, `/objects/${name}`, property);
    if ((await read('endpoint')) === 'server' && (await read('verify-peer')) === true) found.push(name);
  }
  const [first, ...others] = found;
  if (first !== undefined && others.length === 0) return first;
  const seen = first === undefined ? 'has no' : `has several (${found.join(', ')})`;
  throw new UsageError(
    `--listen is TCP with TLS, and QEMU ${seen} server credentials that ask for a certificate`,
    {
      hint: first === undefined ? HINT : 'leave one of them',
    },
  );
}
