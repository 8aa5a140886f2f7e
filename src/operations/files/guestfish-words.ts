import { UsageError } from '../../errors.js';

/** What stands for itself in guestfish's language, whatever is around it. */
const PLAIN = /^[A-Za-z0-9._/]$/;

/**
 * A word of guestfish's language: in double quotes, and every byte in hex that is not a letter, a digit, a dot or a
 * slash. Whatever a name is, no character of it can end the quotes, begin a command, a pipe or an option.
 * @param word text, or bytes when it is no UTF-8.
 * @throws UsageError for a NUL, which no path can have.
 */
export function quoteWord(word: string | Uint8Array): string {
  const bytes = typeof word === 'string' ? Buffer.from(word, 'utf8') : word;
  let quoted = '';
  for (const byte of bytes) {
    if (byte === 0) throw new UsageError('a path cannot have a zero byte in it');
    const char = String.fromCharCode(byte);
    quoted += PLAIN.test(char) ? char : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return `"${quoted}"`;
}

/** Whether a name can stand in one of guestfish's lists, where words are told apart by spaces and quotes. */
export function canBeListed(name: Uint8Array): boolean {
  return name.length > 0 && name.every(byte => PLAIN.test(String.fromCharCode(byte)));
}
