import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatSshOptions, shellWord, sshFailure } from '#nbdelta/hypervisor/host/ssh-command.js';

describe('shellWord', () => {
  it('is read back exactly by a shell', () => {
    const word = fc.string({ unit: 'grapheme' }).filter(text => !text.includes('\0'));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 8 }), words => {
        const script = `printf '%s\\0' ${words.map(shellWord).join(' ')}`;
        const output = execFileSync('sh', ['-c', script], { env: { LC_ALL: 'C.UTF-8' } }).toString('utf8');
        expect(output.split('\0').slice(0, -1)).toEqual(words);
      }),
      { numRuns: 25 },
    );
  });
});

describe('formatSshOptions', () => {
  it('never asks', () => {
    expect(formatSshOptions({ host: 'h' })).toContain('BatchMode=yes');
    expect(formatSshOptions({ host: 'h' })).not.toContain('StrictHostKeyChecking=no');
  });

  it('goes where it is told', () => {
    const options = formatSshOptions({ host: 'h', user: 'u', port: 22, keyFile: '/k', noVerify: true });
    expect(options.slice(-6)).toEqual(['-l', 'u', '-p', '22', '-i', '/k']);
    expect(options).toContain('StrictHostKeyChecking=no');
  });
});

it('tells a refusal from an absence', () => {
  expect(sshFailure('h', 'Host key verification failed.')).toMatchObject({ code: 'HYPERVISOR_DENIED' });
  expect(sshFailure('h', 'root@h: Permission denied (publickey).')).toMatchObject({
    code: 'HYPERVISOR_DENIED',
  });
  expect(sshFailure('h', 'connect to host h port 22: Connection refused')).toMatchObject({
    code: 'HYPERVISOR_UNREACHABLE',
    retryable: true,
  });
});
