import { describe, expect, it } from 'vitest';
import { formatProblem } from '#nbdelta/cli/commands/verify.js';
import { createStyle } from '#nbdelta/cli/display/style.js';
import { withoutSubject, withSubjectOnce } from '#nbdelta/cli/display/without-subject.js';

const VIEW = { style: createStyle(false), unicode: true, columns: 100, isTerminal: false };

describe('a message whose place is told already', () => {
  it('does not begin with it', () => {
    expect(withoutSubject('disk vda: disk vda: bad', ['disk vda'])).toBe('bad');
    expect(withoutSubject('disk vdab: bad', ['disk vda'])).toBe('disk vdab: bad');
    expect(withoutSubject('disk vda: ', ['disk vda'])).toBe('disk vda: ');
  });

  it('has its disk once', () => {
    expect(withSubjectOnce('disk sda: disk sda: NBD_CMD_READ failed')).toBe('disk sda: NBD_CMD_READ failed');
    expect(withSubjectOnce('disk sda: disk sdb: x')).toBe('disk sda: disk sdb: x');
    expect(withSubjectOnce('after the commit: x')).toBe('after the commit: x');
  });

  it('is a finding of verify', () => {
    const problem = { machine: 'web1', point: 'X', disk: 'vda', code: 'DATA_DAMAGED' };
    const line = (message: string, disk: string | null = 'vda') =>
      formatProblem({ ...problem, disk, message }, VIEW);
    expect(line('point web1@X, disk vda: frame 1')).toBe('DATA_DAMAGED  web1@X vda: frame 1');
    expect(line('web1@X: manifest.json is missing', null)).toBe(
      'DATA_DAMAGED  web1@X: manifest.json is missing',
    );
    expect(line('point web1@Y, disk vda: frame 1')).toContain('web1@Y');
  });
});
