import type { ProgramResult } from '../host/run-program.js';
import { oneLine } from '../host/run-program.js';

/*
 * What is written to virsh for one question, with a random MARK:
 *
 *   echo --str 'MARK' 'begin'; 'COMMAND' 'argument' …
 *   echo --str 'MARK' 'end'
 *   echo --err 'MARK' 'end'
 *
 * and what it prints: prompts, the lines themselves once more where it was built with readline (broken and repeated in parts
 * when they are long), and the answer between the marks, which unlike the lines have no quotes:
 *
 *   virsh # …⏎MARK beginANSWER⏎virsh # …⏎MARK endvirsh # …
 *
 * `echo` puts no line feed behind its words on standard output, and "error: " before them on standard error.
 */
const PROMPT = 'virsh # ';

/** The lines for a question; `undefined` when an argument cannot be written on a line. */
export function encodeCommand(words: readonly string[], mark: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be in a line
  if (words.some(word => /[\x00-\x1f\x7f]/.test(word))) return undefined;
  const command = words.map(quote).join(' ');
  const end = `'${mark}' 'end'`;
  return `echo --str '${mark}' 'begin'; ${command}\necho --str ${end}\necho --err ${end}\n`;
}

/** Single quotes keep everything but themselves; those go into double quotes. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'"'"'`)}'`;
}

/** Whether both streams have come to their ends. */
export function isComplete(stdout: string, stderr: string, mark: string): boolean {
  return stdout.includes(`${mark} end`) && stderr.includes(`${mark} end`);
}

/** The answer; `undefined` for anything unexpected, a lost connection among it. */
export function decodeAnswer(stdout: string, stderr: string, mark: string): ProgramResult | undefined {
  const words = stderr.slice(0, stderr.indexOf(`${mark} end`)).replace(/error: $/, '');
  if (/(dis|re)connected|cannot recv data|end of file/i.test(words)) return undefined;
  const begin = stdout.indexOf(`${mark} begin`);
  if (begin < 0) return undefined;
  const text = stdout.slice(begin + `${mark} begin`.length, stdout.indexOf(`${mark} end`));
  const end = text.lastIndexOf(PROMPT);
  if (end < 0) return undefined;
  const failed = words.trim() !== '';
  return {
    code: failed ? 1 : 0,
    stdout: Buffer.from(failed ? '' : text.slice(0, end)),
    stderr: oneLine(words),
  };
}
