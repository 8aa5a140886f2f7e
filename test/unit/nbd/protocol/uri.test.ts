import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '#nbdelta/errors.js';
import {
  describeUri,
  formatNbdUri,
  type NbdAddress,
  parseNbdUri,
  redactUri,
} from '#nbdelta/nbd/protocol/uri.js';

const tcp = (host: string, port = 10809) => ({ kind: 'tcp', host, port });
const unix = (path: string) => ({ kind: 'unix', path });

describe('parseNbdUri: examples of doc/uri.md', () => {
  const examples: readonly (readonly [string, object, string])[] = [
    ['nbd://example.com:10809/export', tcp('example.com'), 'export'],
    ['nbd+unix:///export?socket=nbd.sock', unix('nbd.sock'), 'export'],
    ['nbd://example.com/disk', tcp('example.com'), 'disk'],
    ['nbd+unix:///disk?socket=sock', unix('sock'), 'disk'],
    ['nbd://example.com/', tcp('example.com'), ''],
    ['nbd://example.com', tcp('example.com'), ''],
    ['nbd://example.com//disk', tcp('example.com'), '/disk'],
    ['nbd://example.com/hello%20world', tcp('example.com'), 'hello world'],
    ['nbd+unix:///?socket=%00/abstract', unix('\0/abstract'), ''],
  ];
  it.each(examples)('%s', (text, address, exportName) => {
    expect(parseNbdUri(text)).toEqual({ address, exportName, tls: undefined, text });
  });
});

describe('parseNbdUri', () => {
  const accepted: readonly (readonly [string, object, string])[] = [
    ['nbd://', tcp('localhost'), ''],
    ['nbd:///vda', tcp('localhost'), 'vda'],
    ['NBD://Host/x', tcp('Host'), 'x'],
    ['nbd://host:/x', tcp('host'), 'x'],
    ['nbd://host:1/x', tcp('host', 1), 'x'],
    ['nbd://host:65535', tcp('host', 65535), ''],
    ['nbd://[::1]/x', tcp('::1'), 'x'],
    ['nbd://[2001:db8::7]:10810/', tcp('2001:db8::7', 10810), ''],
    ['nbd://[fe80::1%25eth0]:99/x', tcp('fe80::1%eth0', 99), 'x'],
    ['nbd://[::ffff:192.0.2.1]/x', tcp('::ffff:192.0.2.1'), 'x'],
    ['nbd://alice@host/x', tcp('host'), 'x'],
    ['nbd://ex%61mple/%C3%A4%2F%3F%23', tcp('example'), 'ä/?#'],
    ['nbd+unix:///a+b?socket=/run/a+b%20c.sock', unix('/run/a+b c.sock'), 'a+b'],
    ['nbd+unix://alice@/x?socket=/s', unix('/s'), 'x'],
    ['nbd+unix:///x?socket=/a=b', unix('/a=b'), 'x'],
    ['nbd+unix:///x?x-mine=1&socket=/s&', unix('/s'), 'x'],
    ['nbd://host/a/b/../c', tcp('host'), 'a/b/../c'],
  ];
  it.each(accepted)('accepts %s', (text, address, exportName) => {
    const uri = parseNbdUri(text);
    expect(uri.address).toEqual(address);
    expect(uri.exportName).toBe(exportName);
    expect(uri.tls).toBeUndefined();
  });

  const refused: readonly (readonly [string, RegExp])[] = [
    ['', /expected nbd:\/\//],
    ['nbd', /expected nbd:\/\//],
    ['nbd:unix:/run/sock', /expected nbd:\/\//],
    ['http://host/x', /expected nbd:\/\//],
    ['nbd+vsock://1/x', /expected nbd:\/\//],
    ['toString://host/x', /expected nbd:\/\//],
    ['nbd://host/x#fragment', /./],
    ['nbd://host/%zz', /"%zz" is not valid percent-encoding/],
    ['nbd://host/%ff', /not valid percent-encoding/],
    ['nbd://host/%', /not valid percent-encoding/],
    ['nbd://h%/x', /percent-encoding/],
    ['nbd://host:0/x', /port 0 is not between 1 and 65535/],
    ['nbd://host:65536/x', /port 65536/],
    ['nbd://host:12a/x', /\[USER@\]HOST\[:PORT\]/],
    ['nbd://::1/x', /write IPv6 as \[::1\]/],
    ['nbd://[::1/x', /HOST/],
    ['nbd://[::1]x/x', /HOST/],
    ['nbd://host/a%00b', /no NUL/],
    [`nbd://host/${'a'.repeat(4097)}`, /longer than 4096/],
    [`nbd://host/${'%C3%A4'.repeat(2049)}`, /longer than 4096/],
    ['nbd://host/x?socket=/s', /socket needs nbd\+unix/],
    ['nbd+unix:///x', /needs \?socket=PATH/],
    ['nbd+unix:///x?socket=', /needs \?socket=PATH/],
    ['nbd+unix://host/x?socket=/s', /has no host/],
    ['nbd+unix:///x?socket=/s&socket=/t', /given twice/],
    ['nbd+unix:///x?sokcet=/s', /unknown parameter "sokcet"/],
    ['nbd+unix:///x?socket=%zz', /percent-encoding/],
    ['nbd://host/x?tls-certificates=/pki', /needs nbds/],
    ['nbd+unix:///x?socket=/s&tls-type=psk', /needs nbds/],
    ['nbds://host/x?tls-verify-peer=0', /without verification is not offered/],
    ['nbds://host/x?tls-type=anon', /"anon" is not x509 or psk/],
    ['nbds://host/x?tls-type=psk', /needs tls-psk-file/],
    ['nbds://host/x?tls-type=x509&tls-psk-file=/k', /does not go with/],
    ['nbds://host/x?tls-psk-file=/k&tls-certificates=/c', /not both/],
  ];
  it.each(refused)('refuses %s', (text, message) => {
    const error = thrown(() => parseNbdUri(text));
    expect(error).toBeInstanceOf(UsageError);
    expect(error).toMatchObject({ code: 'NBD_URI_INVALID', message: expect.stringMatching(message) });
    expect((error as UsageError).hint).toMatch(/nbd:\/\//);
  });

  it('takes an export name of 4096 bytes', () => {
    expect(parseNbdUri(`nbd://h/${'a'.repeat(4096)}`).exportName).toHaveLength(4096);
  });

  it('does not repeat the user in an error', () => {
    const error = thrown(() => parseNbdUri('nbd://alice:secret@host:0/x')) as Error;
    expect(error.message).not.toMatch(/secret|alice/);
  });
});

describe('parseNbdUri with TLS', () => {
  it('is x509 without more', () => {
    expect(parseNbdUri('nbds://host/x').tls).toEqual({
      kind: 'x509',
      certificates: undefined,
      pskFile: undefined,
      username: undefined,
      hostname: 'host',
    });
  });

  it('takes certificates, and another host name', () => {
    const { tls, address } = parseNbdUri(
      'nbds+unix:///x?socket=/s&tls-certificates=/pki&tls-hostname=a.example&tls-verify-peer=1&tls-type=x509',
    );
    expect(address).toEqual(unix('/s'));
    expect(tls).toMatchObject({ kind: 'x509', certificates: '/pki', hostname: 'a.example' });
  });

  it('is psk with a key file; the user is the URI’s', () => {
    const { tls } = parseNbdUri('nbds://alice@host/x?tls-psk-file=/keys.psk');
    expect(tls).toMatchObject({ kind: 'psk', pskFile: '/keys.psk', username: 'alice' });
    const other = parseNbdUri('nbds+unix:///x?socket=/s&tls-psk-file=/keys.psk&tls-username=bob');
    expect(other.tls).toMatchObject({ kind: 'psk', username: 'bob', hostname: undefined });
  });
});

describe('formatNbdUri', () => {
  const host = fc.oneof(
    fc.constantFrom('localhost', 'a.example', '192.0.2.1', '::1', '2001:db8::7', 'fe80::1%eth0'),
  );
  const path = fc.stringMatching(/^\/[\w /+&=?#%äß\0-]{1,40}$/);
  const address: fc.Arbitrary<NbdAddress> = fc.oneof(
    fc.record({ kind: fc.constant('tcp' as const), host, port: fc.integer({ min: 1, max: 65535 }) }),
    fc.record({ kind: fc.constant('unix' as const), path }),
  );
  const exportName = fc.stringMatching(/^[\w /+&=?#%@:[\]äß.-]{0,60}$/);

  it('is read back to the same address and export', () => {
    fc.assert(
      fc.property(address, exportName, (where, name) => {
        const parsed = parseNbdUri(formatNbdUri(where, name));
        expect(parsed.address).toEqual(where);
        expect(parsed.exportName).toBe(name);
      }),
    );
  });
});

describe('describing a URI', () => {
  it.each([
    ['nbd://[::1]:7/x', 'export "x" at [::1]:7'],
    ['nbd://host/', 'export "" at host:10809'],
    ['nbd+unix:///vda?socket=/run/s', 'export "vda" at unix:/run/s'],
    ['nbd+unix:///vda?socket=%00s', 'export "vda" at unix:@s'],
  ])('%s', (text, name) => {
    expect(describeUri(parseNbdUri(text))).toBe(name);
  });

  it('redacts the user', () => {
    expect(redactUri('nbds://alice@host/x@y')).toBe('nbds://host/x@y');
    expect(redactUri('nbd://host/a@b')).toBe('nbd://host/a@b');
  });
});

function thrown(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}
