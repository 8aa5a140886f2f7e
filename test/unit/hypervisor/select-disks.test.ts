import { describe, expect, it } from 'vitest';
import { UsageError } from '#nbdelta/errors.js';
import { selectDisks } from '#nbdelta/hypervisor/select-disks.js';

const FOUND = {
  disks: [{ name: 'vda' }, { name: 'vdb' }],
  skipped: [{ name: 'cd', reason: { code: 'empty', text: 'cd has no medium' } }],
};
const names = (selection: Parameters<typeof selectDisks>[1]) => {
  const { disks, skipped } = selectDisks(FOUND, selection);
  return [disks.map(({ name }) => name), skipped.map(({ name, reason }) => `${name} ${reason.code}`)];
};

describe('selectDisks', () => {
  it.each([
    [{}, ['vda', 'vdb'], ['cd empty']],
    [{ include: ['vdb'] }, ['vdb'], ['cd empty', 'vda excluded']],
    [{ exclude: ['vdb', 'cd'] }, ['vda'], ['cd empty', 'vdb excluded']],
    [{ include: ['vda'], exclude: ['vda'] }, [], ['cd empty', 'vda excluded', 'vdb excluded']],
  ])('%j', (selection, disks, skipped) => {
    expect(names(selection)).toEqual([disks, skipped]);
  });

  it.each([
    [{ include: ['vdc'] }, 'has no disk "vdc"'],
    [{ exclude: ['vdc'] }, 'has no disk "vdc"'],
    [{ include: ['cd'] }, 'cd has no medium'],
  ])('%j is refused', (selection, text) => {
    expect(() => names(selection)).toThrow(UsageError);
    expect(() => names(selection)).toThrow(text);
  });
});
