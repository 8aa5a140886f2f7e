import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeAnswer, encodeCommand, isComplete } from '#nbdelta/hypervisor/libvirt/virsh-shell-codec.js';

const MARK = '0123456789abcdef01234567';
const PROMPT = 'virsh # ';

/** What virsh 9.0 prints with readline (it repeats what it reads, long lines broken), and without. */
function printed(answer: string, line: string, repeats: boolean): string {
  const [question = '', end] = line.split('\n');
  const echo = (text: string | undefined) => (repeats ? `${text}\n` : '');
  const broken = `${question.slice(0, 60)}\r<${question.slice(50)}`;
  return (
    `${PROMPT}${echo(broken)}${MARK} begin${answer}` +
    `${PROMPT}${echo(end)}${MARK} end${PROMPT}${echo(`echo --err '${MARK}' 'end'`)}${PROMPT}`
  );
}

const line = encodeCommand(['domstate', '--domain=web1'], MARK)!;
const quiet = `error: ${MARK} end\n`;

describe.each([true, false])('a question to virsh that repeats its input: %s', repeats => {
  it('has the answer, whatever it looks like', () => {
    const text = fc.array(fc.constantFrom('<a/>\n', 'virsh # ', 'echo --str ', '\n', 'x y\n', 'error: z\n'));
    fc.assert(
      fc.property(text, parts => {
        const answer = parts.join('');
        const stdout = printed(answer, line, repeats);
        expect(decodeAnswer(stdout, quiet, MARK)?.stdout.toString()).toBe(answer);
      }),
    );
  });

  it('is complete at its very end only', () => {
    const stdout = printed('running\n', line, repeats);
    for (let length = 0; length <= stdout.length; length++) {
      const part = stdout.slice(0, length);
      if (!isComplete(part, quiet, MARK)) continue;
      expect(decodeAnswer(part, quiet, MARK)?.stdout.toString()).toBe('running\n');
    }
    expect(isComplete(stdout, quiet, MARK)).toBe(true);
    expect(isComplete(stdout, '', MARK)).toBe(false);
  });

  it('has an error as a virsh of its own has it', () => {
    const stderr = `error: failed to get domain 'web1'\n${quiet}`;
    expect(decodeAnswer(printed('', line, repeats), stderr, MARK)).toMatchObject({
      code: 1,
      stderr: "error: failed to get domain 'web1'",
    });
  });

  it('is none when the connection was lost in between', () => {
    for (const words of [
      'error: Disconnected from qemu:///system due to end of file',
      'error: Reconnected to the hypervisor',
    ]) {
      expect(decodeAnswer(printed('x\n', line, repeats), `${words}\n${quiet}`, MARK)).toBeUndefined();
    }
  });
});

describe('an argument', () => {
  it('is quoted, so that it stays one word', () => {
    expect(encodeCommand(['domid', '--domain=a b\'c"d'], MARK)?.split('\n')[0]).toContain(
      `; 'domid' '--domain=a b'"'"'c"d'`,
    );
  });

  it('that cannot stand on a line is not asked', () => {
    expect(encodeCommand(['domid', '--domain=a\nundefine web1'], MARK)).toBeUndefined();
    expect(encodeCommand(['domid', '--domain=a\0b'], MARK)).toBeUndefined();
  });
});
