import { describe, expect, it } from 'vitest';
import { describeSource } from '#nbdelta/hypervisor/qmp/source-description.js';

describe('describeSource', () => {
  it.each([
    ['/images/a:b #1?.qcow2', '/images/a:b #1?.qcow2'],
    ['ssh://root@host:22/image', 'ssh://host:22/image'],
    ['https://user:secret@host/image?token=secret#secret', 'https://host/image'],
    ['nbd+unix:///vda?socket=/run/x', 'nbd+unix:///vda'],
    ['', null],
    [
      'json:{"driver":"qcow2","file":{"driver":"file","filename":"/images/top.qcow2"},"backing":{"driver":"file","filename":"/base"}}',
      '/images/top.qcow2',
    ],
    [
      'json:{"driver":"raw","file":{"driver":"rbd","pool":"p","image":"i","user":"secret","key-secret":"secret"}}',
      '{"driver":"rbd","pool":"p","image":"i"}',
    ],
    [
      'json:{"driver":"raw","file":{"driver":"ssh","path":"/x","user":"secret","server":{"host":"h","port":"22","password":"secret"}}}',
      '{"driver":"ssh","path":"/x","server":{"host":"h","port":"22"}}',
    ],
    ['json:{"driver":"raw","file":{"driver":"curl","url":"https://secret@host/"}}', '{"driver":"curl"}'],
    ['json:{"driver":"null-co","secret":1}', '{"driver":"null-co"}'],
    ['json:{"cut off by QEMU', null],
    ['json:7', null],
  ])('%s', (file, source) => {
    expect(describeSource(file)).toBe(source);
    expect(describeSource(file) ?? '').not.toContain('secret');
  });
});
