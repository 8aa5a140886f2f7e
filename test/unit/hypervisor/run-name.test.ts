import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findRunName, newRunName, ownerTag, parseRunName } from '#nbdelta/hypervisor/run-name.js';

describe('run names', () => {
  it('carry owner and time, and are read back', () => {
    const run = newRunName('0123abcd', new Date('2026-11-23T22:45:07.891Z'));
    expect(run.text).toMatch(/^nbdelta-0123abcd-20261123T224507Z-[0-9a-f]{8}$/);
    expect(run.startedAt).toEqual(new Date('2026-11-23T22:45:07Z'));
    expect(parseRunName(run.text)).toEqual(run);
  });

  it('do not collide when two begin in the same second', () => {
    const now = new Date();
    const names = Array.from({ length: 1000 }, () => newRunName('0123abcd', now).text);
    expect(new Set(names).size).toBe(1000);
  });

  it.each([
    'nbdelta',
    'nbdelta-0123abcd',
    'monday',
    'virtnbdbackup.0',
    'nbdelta-0123abcd-20261123T224507Z-0123456',
    'nbdelta-0123abcd-20261123T224507Z-012345678',
    'nbdelta-0123ABCD-20261123T224507Z-01234567',
    'nbdelta-0123abcd-20261323T224507Z-01234567',
    ' nbdelta-0123abcd-20261123T224507Z-01234567',
    'nbdelta-0123abcd-20261123T224507Z-01234567\n',
  ])('are not what somebody else made up: %j', text => {
    expect(parseRunName(text)).toBeUndefined();
  });

  it('are found at the beginning of what is named after them, and nowhere else', () => {
    const run = newRunName('0123abcd');
    expect(findRunName(`${run.text}-vda.qcow2`)).toEqual(run);
    expect(findRunName(`x${run.text}`)).toBeUndefined();
  });

  it('have an owner that depends on every part', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (a, b, c) => {
        expect(ownerTag(a, b)).toMatch(/^[0-9a-f]{8}$/);
        if (b !== c) expect(ownerTag(a, b)).not.toBe(ownerTag(a, c));
      }),
    );
  });
});
