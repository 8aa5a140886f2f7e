import { describe, expect, it } from 'vitest';
import { parseConnectUri } from '#nbdelta/hypervisor/libvirt/connect-uri.js';

describe('parseConnectUri', () => {
  it.each([
    'qemu:///system',
    'qemu:///session',
    'qemu+unix:///system?socket=/s',
    'qemu:///system?socket=/a/b',
  ])('%s is here', uri => expect(parseConnectUri(uri)).toBeUndefined());

  it('reads where ssh goes', () => {
    expect(parseConnectUri('qemu+ssh://kvm1/system')).toEqual({
      ...{ host: 'kvm1', user: undefined, port: undefined, keyFile: undefined, noVerify: false },
    });
    expect(parseConnectUri('qemu+ssh://a%40b@[::1]:2222/system?keyfile=/k%20k&no_verify=1')).toEqual({
      ...{ host: '::1', user: 'a@b', port: 2222, keyFile: '/k k', noVerify: true },
    });
  });

  it.each([
    'qemu+tls://kvm1/system',
    'qemu://kvm1/system',
    'qemu+tcp://kvm1/system',
    'lxc:///system',
    'kvm1',
    '',
  ])('refuses %s', uri =>
    expect(() => parseConnectUri(uri)).toThrow(expect.objectContaining({ code: 'USAGE' })),
  );
});
