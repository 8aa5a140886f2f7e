import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mayWritePath } from '#nbdelta/hypervisor/libvirt/doctor/apparmor-rules.js';
import { judgeRules } from '#nbdelta/hypervisor/libvirt/doctor/examine-apparmor.js';

const SOCKET = '/run/nbdelta/nbdelta-00000000-20240101T000000Z-00000000/s';

describe('a rule of AppArmor', () => {
  it.each([
    ['/run/nbdelta/** rw,'],
    ['  /run/nbdelta/** rwk,   # nbdelta'],
    ['/run/nbdelta/*/s w,'],
    ['/run/nbdelta/nbdelta-*/? rw,'],
    ['owner /run/nbdelta/** rw,'],
    ['audit allow /run/nbdelta/** rw,'],
    ['"/run/nbdelta/**" rw,'],
    ['rw /run/nbdelta/**,'],
    ['/{,var/}run/nbdelta/** rw,'],
    ['/{var/run,run}/{a,nbdelta}/** rw,'],
    ['@{run}/nbdelta/** rw,'],
    ['/[a-r]un/nbdelta/** rw,'],
    ['/** rw,'],
  ])('%s lets QEMU bind', rule => {
    expect(mayWritePath(`profile x {\n  #include <abstractions/base>\n${rule}\n}`, SOCKET)).toBe('allowed');
  });

  it.each([
    ['/run/nbdelta/** r,'],
    ['/run/nbdelta/* rw,'],
    ['/run/nbdelta rw,'],
    ['/run/nbdeltas/** rw,'],
    ['# /run/nbdelta/** rw,'],
    ['/run.nbdelta/** rw,'],
    ['@{unknown}/nbdelta/** rw,'],
    ['/run/{nbdelta/** rw,'],
    ['/run/nbdelta/[z-a]** rw,'],
    ['capability dac_override,'],
    ['/run/nbdelta/** rw'],
  ])('%s does not', rule => {
    expect(mayWritePath(rule, SOCKET)).toBe('silent');
  });

  it('that denies wins', () => {
    const profile = '/run/nbdelta/** rw,\ndeny /run/nbdelta/*/s w,\n';
    expect(mayWritePath(profile, SOCKET)).toBe('denied');
    expect(mayWritePath(profile, `${SOCKET}2`)).toBe('allowed');
  });

  it('never breaks the reader, whatever stands there', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (profile, path) => {
        expect(['allowed', 'denied', 'silent']).toContain(mayWritePath(`/${profile} rw,`, path));
      }),
    );
  });
});

describe('the finding', () => {
  it('gives the exact line to add, which is then enough', () => {
    const missing = judgeRules('/x rw,', SOCKET, '/run/nbdelta');
    expect(missing).toMatchObject({ id: 'apparmor', status: 'problem' });
    const line = /`([^`]*,)`/.exec(missing.fix ?? '')?.[1];
    expect(judgeRules(`/x rw,\n${line}`, SOCKET, '/run/nbdelta').status).toBe('ok');
  });

  it('says when the rules cannot be read', () => {
    expect(judgeRules(undefined, SOCKET, '/run/nbdelta').status).toBe('warning');
  });
});
