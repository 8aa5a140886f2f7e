import { describe, expect, it } from 'vitest';
import { parseSource } from '#nbdelta/hypervisor/source.js';

describe('sources', () => {
  it.each([
    ['libvirt:web1', { kind: 'libvirt', domain: 'web1' }],
    ['libvirt:a b=c:d', { kind: 'libvirt', domain: 'a b=c:d' }],
    ['LIBVIRT:web1', { kind: 'libvirt', domain: 'web1' }],
    ['qmp:/run/q.sock', { kind: 'qmp', socket: '/run/q.sock' }],
    ['image:/images/a,b=c.qcow2', { kind: 'image', path: '/images/a,b=c.qcow2' }],
  ])('%s is read', (text, expected) => {
    expect(parseSource(text)).toEqual({ ...expected, text });
  });

  it('takes every NBD URI', () => {
    expect(parseSource('nbd+unix:///vda?socket=/s')).toMatchObject({
      kind: 'nbd',
      uri: { exportName: 'vda' },
    });
    expect(parseSource('nbds://h/x')).toMatchObject({ kind: 'nbd' });
  });

  it.each(['', 'web1', '/images/a.qcow2', 'file:/a', 'libvirt:', 'qmp:', 'image:', 'image:a\0b'])(
    'refuses %j',
    text => {
      expect(() => parseSource(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    },
  );
});
