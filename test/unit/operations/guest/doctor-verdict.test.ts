import { describe, expect, it } from 'vitest';
import type { Finding } from '#nbdelta/hypervisor/front-end.js';
import { judge } from '#nbdelta/operations/guest/doctor-verdict.js';

function finding(id: string, status: Finding['status'], disk?: string): Finding {
  return { id, status, text: id, ...(disk === undefined ? {} : { disk }) };
}

describe('a verdict', () => {
  it('is incremental when one disk can keep a bitmap, and names those that cannot', () => {
    const verdict = judge([
      finding('disk', 'ok', 'vda'),
      finding('disk', 'warning', 'vdb'),
      finding('disk', 'info', 'sda'),
    ]);
    expect(verdict).toEqual({
      ...{ full: true, incremental: true, quiesce: null },
      text: 'can be backed up, incrementally as well, except for vdb',
    });
  });

  it('is not incremental with raw disks only, or none', () => {
    for (const findings of [[finding('disk', 'warning', 'vda')], []]) {
      expect(judge(findings)).toMatchObject({
        ...{ full: true, incremental: false },
        text: 'can be backed up, but everything is read each time',
      });
    }
  });

  it('is no when there is a problem, whatever else is fine', () => {
    expect(judge([finding('disk', 'ok', 'vda'), finding('job', 'problem')])).toMatchObject({
      ...{ full: false, incremental: false },
      text: 'cannot be backed up as it is: a problem is in the way',
    });
    expect(judge([finding('a', 'problem'), finding('b', 'problem')]).text).toContain('2 problems are');
  });

  it('minds neither a broken bitmap of an old checkpoint nor another warning', () => {
    const findings = [
      finding('disk', 'ok', 'vda'),
      finding('bitmap', 'warning', 'vda'),
      finding('tls', 'warning'),
    ];
    expect(judge(findings)).toMatchObject({ full: true, incremental: true });
  });

  it.each([
    ['ok', true],
    ['warning', false],
    ['info', null],
  ] as const)('of a guest agent that is %s', (status, expected) => {
    expect(judge([finding('guest-agent', status)]).quiesce).toBe(expected);
  });
});
