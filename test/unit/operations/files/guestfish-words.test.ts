import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canBeListed, quoteWord } from '#nbdelta/operations/files/guestfish-words.js';

/** What guestfish(1), "ESCAPE SEQUENCES IN DOUBLE QUOTED ARGUMENTS", makes of a quoted word. */
function readAsGuestfish(quoted: string): Buffer {
  const inner = /^"([^"\\]|\\x[0-9a-f]{2})*"$/.exec(quoted);
  expect(inner, quoted).not.toBeNull();
  const text = quoted
    .slice(1, -1)
    .replace(/\\x(..)/g, (_, hex: string) => String.fromCharCode(Number(`0x${hex}`)));
  return Buffer.from(text, 'latin1');
}

describe('words for guestfish', () => {
  it('are what they were, and have nothing in them that could mean anything else', () => {
    const names = fc.uint8Array({ min: 1, max: 255, maxLength: 40 });
    fc.assert(
      fc.property(names, name => {
        const quoted = quoteWord(name);
        expect(quoted).toMatch(/^"[A-Za-z0-9._/\\]*"$/);
        expect(readAsGuestfish(quoted)).toEqual(Buffer.from(name));
      }),
    );
  });

  it.each([
    `a b`,
    `"; !rm -rf /"`,
    `it's`,
    '-n',
    'new\nline',
    'a | b',
    '<<END',
    'ä',
    '~root',
    'win:c:\\x',
    '*',
  ])('of text: %j', text => expect(readAsGuestfish(quoteWord(text)).toString('utf8')).toBe(text));

  it('cannot have a zero byte', () => expect(() => quoteWord('/a\0b')).toThrow(/zero byte/));

  it('go into a list only when no rule of lists could touch them', () => {
    expect(canBeListed(Buffer.from('hello.txt'))).toBe(true);
    for (const name of ['', 'a b', "it's", '"', '-n', '\\', 'ä', '\n'])
      expect(canBeListed(Buffer.from(name))).toBe(false);
  });
});
