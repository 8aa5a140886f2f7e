import { describe, expect, it } from 'vitest';
import { encodeDocument } from '#nbdelta/repository/json-document.js';
import {
  adoptIdentity,
  checkParentGuest,
  decodeMachineRecord,
  type MachineIdentity,
  newMachineRecord,
} from '#nbdelta/repository/machine-record.js';
import { sampleManifest, samplePoint } from './sample-manifest.js';

const NOW = new Date('2026-11-22T17:30:00Z');

function identity(id: string | null, disks: Record<string, string | null> = {}): MachineIdentity {
  return { id, disks: Object.entries(disks).map(([name, source]) => ({ name, source })) };
}

function record(id: string | null, disks: Record<string, string | null> = {}) {
  return newMachineRecord('web1', identity(id, disks), NOW);
}

describe('adoptIdentity', () => {
  const accepted: [string, ReturnType<typeof record>, MachineIdentity][] = [
    ['the same id, other sources', record('A', { vda: 'x' }), identity('A', { vda: 'y' })],
    ['the same id in capitals', record('ab'), identity('AB')],
    ['an id for a record without one', record(null, { vda: 'x' }), identity('A', { vda: 'x' })],
    ['no id, the same source', record('A', { vda: 'x' }), identity(null, { vda: 'x' })],
    [
      'no ids, the same source and a new disk',
      record(null, { vda: 'x' }),
      identity(null, { vda: 'x', vdb: 'z' }),
    ],
    ['a source that says nothing', record(null, { vda: 'x' }), identity(null, { vda: null })],
    ['a record that says nothing', record(null, { vda: null }), identity(null, { vda: 'x' })],
    ['no common disk', record(null, { vda: 'x' }), identity(null, { vdb: 'y' })],
  ];
  it.each(accepted)('takes %s', (_, before, stated) => {
    expect(adoptIdentity(before, stated).id).toBe(before.id ?? stated.id);
  });

  const refused: [string, ReturnType<typeof record>, MachineIdentity, string][] = [
    ['another id', record('A'), identity('B'), '--name'],
    ['no id, another source', record('A', { vda: 'x' }), identity(null, { vda: 'y' }), '--machine-id A'],
    ['a first id, another source', record(null, { vda: 'x' }), identity('B', { vda: 'y' }), '--level full'],
    ['no ids, another source', record(null, { vda: 'x' }), identity(null, { vda: 'y' }), '--machine-id'],
  ];
  it.each(refused)('refuses %s', (_, before, stated, hint) => {
    const error = { code: 'MACHINE_MISMATCH', hint: expect.stringContaining(hint) };
    expect(() => adoptIdentity(before, stated)).toThrow(expect.objectContaining(error));
  });

  it('a first id on a guest with other sources is taken with a full that was asked for', () => {
    const after = adoptIdentity(record(null, { vda: 'x' }), identity('B', { vda: 'y' }), true);
    expect(after).toMatchObject({ id: 'B', disks: { vda: { source: 'y' } } });
    const strangers = [identity('C', { vda: 'y' }), identity(null, { vda: 'x' })];
    for (const stranger of strangers) {
      expect(() => adoptIdentity(after, stranger, true)).toThrow(
        expect.objectContaining({ code: 'MACHINE_MISMATCH' }),
      );
    }
  });

  it('a point builds only on a point of the same guest, whatever a failed backup wrote into the record', () => {
    const parent = samplePoint(sampleManifest(1)).manifest;
    expect(() => checkParentGuest(parent, identity('B', { vda: 'other' }))).toThrow('was read from');
    expect(() => checkParentGuest(parent, identity('B', { vda: parent.disks[0]!.source }))).not.toThrow();
  });

  it('says both ids', () => {
    expect(() => adoptIdentity(record('A'), identity('B'))).toThrow(/id A, .* id B/);
  });

  it('remembers sources, keeps them when nothing is said, and alters nothing it was given', () => {
    const before = record('A', { vda: 'x', vdb: 'y' });
    const copy = structuredClone(before);
    const after = adoptIdentity(before, identity('A', { vda: null, vdb: 'Y', vdc: null }));
    expect(after.disks).toEqual({ vda: { source: 'x' }, vdb: { source: 'Y' }, vdc: { source: null } });
    expect(before).toEqual(copy);
  });

  it('a disk called like a property of every object is a disk like any other', () => {
    const after = adoptIdentity(record(null), identity(null, { constructor: 'x', toString: 'y' }));
    expect(decodeMachineRecord(encodeDocument(after), 'web1').disks).toEqual(after.disks);
    expect(() => adoptIdentity(after, identity(null, { constructor: 'z' }))).toThrow('was read from x');
  });
});

describe('decodeMachineRecord', () => {
  it('reads what was written, only in its own folder', () => {
    const bytes = encodeDocument(record('A', { vda: 'x' }));
    expect(decodeMachineRecord(bytes, 'web1')).toEqual(record('A', { vda: 'x' }));
    expect(() => decodeMachineRecord(bytes, 'db1')).toThrow('names machine web1, expected db1');
  });

  it.each([{ disks: { '../x': { source: null } } }, { disks: { vda: 'x' } }, { id: 7 }, { name: '..' }])(
    'refuses %j',
    change => {
      const bytes = encodeDocument({ ...record('A'), ...change });
      expect(() => decodeMachineRecord(bytes, 'web1')).toThrow(
        expect.objectContaining({ code: 'REPOSITORY_INVALID' }),
      );
    },
  );
});
