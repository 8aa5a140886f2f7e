import { describe, expect, it } from 'vitest';
import { examineExport } from '#nbdelta/operations/guest/examine-export.js';
import type { ExportDescription } from '#nbdelta/operations/inspect-export.js';

const UNIX = { kind: 'unix', path: '/run/s' } as const;
const GOOD: ExportDescription = {
  ...{ uri: 'nbd+unix:///vda?socket=/run/s', server: 'unix:/run/s', encrypted: false, export: 'vda' },
  ...{ size: 1 << 20, description: null, flags: ['read-only', 'multi-conn'], replies: 'structured' },
  ...{ blockSize: { minimum: 1, preferred: 4096, maximum: 1 << 25 }, blockSizeAdvertised: true },
  ...{ contexts: ['base:allocation', 'qemu:dirty-bitmap:backup-vda'], exports: null },
};

function statuses(change: Partial<ExportDescription>, address: Parameters<typeof examineExport>[1] = UNIX) {
  const findings = examineExport({ ...GOOD, ...change }, address);
  return Object.fromEntries(findings.map(({ id, status }) => [id, status]));
}

describe('an export', () => {
  it('of a backup job has all that is needed', () => {
    expect(statuses({})).toEqual({
      ...{ export: 'ok', 'nbd-replies': 'ok', 'nbd-connections': 'ok', 'nbd-limits': 'info', tls: 'ok' },
      ...{ allocation: 'ok', disk: 'ok', job: 'info' },
    });
    expect(examineExport(GOOD, UNIX).every(({ disk }) => disk === 'vda')).toBe(true);
    expect(examineExport({ ...GOOD, export: '' }, UNIX).every(finding => !('disk' in finding))).toBe(true);
  });

  it.each([
    [{ contexts: ['base:allocation'] }, { disk: 'warning' }],
    [{ contexts: [] }, { disk: 'warning', allocation: 'info' }],
    [{ replies: 'simple' }, { 'nbd-replies': 'warning' }],
    [{ replies: 'extended' }, { 'nbd-replies': 'ok' }],
    [{ flags: ['read-only'] }, { 'nbd-connections': 'info' }],
    [{ flags: ['multi-conn'] }, { job: 'warning' }],
  ])('with %j', (change, expected) => {
    expect(statuses(change)).toMatchObject(expected);
  });

  it.each([
    ['127.0.0.1', false, 'ok'],
    ['::1', false, 'ok'],
    ['backup.example', false, 'warning'],
    ['backup.example', true, 'ok'],
  ])('at %s, encrypted: %s', (host, encrypted, expected) => {
    expect(statuses({ encrypted }, { kind: 'tcp', host, port: 10809 })['tls']).toBe(expected);
  });

  it('has a fix for each warning', () => {
    const worst = { contexts: [], replies: 'simple', flags: [] };
    const findings = examineExport({ ...GOOD, ...worst }, { kind: 'tcp', host: 'h', port: 1 });
    const bad = findings.filter(({ status }) => status === 'warning' || status === 'problem');
    expect(bad).toHaveLength(4);
    for (const { fix } of bad) expect(fix).toBeTruthy();
  });
});
