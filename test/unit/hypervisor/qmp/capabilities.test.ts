import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  missingFeatures,
  parseCapabilities,
  qmpSchema,
  requireFeatures,
} from '#nbdelta/hypervisor/qmp/capabilities.js';

/** Of `{"execute": "query-qmp-schema"}` to QEMU 7.2.22: the commands that are looked at, with their types. */
const CAPTURED: unknown = JSON.parse(
  readFileSync(new URL('./qemu-7.2-schema.json', import.meta.url), 'utf8'),
);
const schema = qmpSchema.parse(CAPTURED);
const without = (name: string) => schema.filter(type => type.name !== name);

describe('capabilities', () => {
  it('are read from a real schema', () => {
    const capabilities = parseCapabilities(schema);
    expect(capabilities.commands).toContain('block-export-add');
    expect(capabilities.commands).not.toContain('no-such-command');
    expect(capabilities.transactionActions).toContain('block-dirty-bitmap-merge');
    expect(capabilities.transactionActions).not.toContain('block-export-add');
    expect(capabilities.argumentsOf('blockdev-backup')).toContain('filter-node-name');
    expect(capabilities.argumentsOf('blockdev-backup')).not.toContain('on-cbw-error');
    expect(capabilities.argumentsOf('nothing')).toEqual(new Set());
    expect(missingFeatures(capabilities)).toEqual([]);
    expect(() => requireFeatures(capabilities, '7.2.22')).not.toThrow();
  });

  it('miss a command', () => {
    const capabilities = parseCapabilities(without('block-export-add'));
    expect(() => requireFeatures(capabilities, '5.1.0')).toThrow(
      'QEMU 5.1.0 has not got what a backup needs: block-export-add (QEMU 5.2)',
    );
  });

  it('miss an action of a transaction, as enumerations were told before they had members', () => {
    const capabilities = parseCapabilities(
      schema.map(type => {
        if (type['meta-type'] !== 'enum') return type;
        const { members: _, ...old } = type;
        return { ...old, values: (type.values ?? []).filter(value => value !== 'block-dirty-bitmap-merge') };
      }),
    );
    expect(capabilities.transactionActions).toContain('blockdev-backup');
    expect(missingFeatures(capabilities)).toEqual([
      { name: 'block-dirty-bitmap-merge in a transaction', since: '4.0' },
    ]);
  });

  it('miss an option', () => {
    const capabilities = parseCapabilities(
      schema.map(type => ({
        ...type,
        members: type.members?.filter(({ name }) => name !== 'filter-node-name'),
      })),
    );
    expect(missingFeatures(capabilities)).toEqual([
      { name: "blockdev-backup's option filter-node-name", since: '4.2' },
    ]);
  });
});
