import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findProgram } from '../support/programs.js';
import type { TempFolder } from '../support/temp-folder.js';

/**
 * What guestfish answers to a command, by its name: a shell's commands, which may write to 3 (the reply) and 2 (a
 * complaint). What is not here succeeds without a word.
 */
export type Answers = Readonly<Record<string, string>>;

/** A complaint as libguestfs makes it. */
export function complain(said: string): string {
  return `echo "*stdin*:1: libguestfs: error: ${said}" >&2`;
}

/**
 * A PATH on which `guestfish` is a script that answers as it is told, and little else. It reads what nbdelta writes and
 * nothing more: how the real one behaves is for test/stack/files.test.ts.
 */
export async function fakeGuestfish(folder: TempFolder, answers: Answers): Promise<string> {
  const bin = folder.file('bin');
  await mkdir(bin);
  const script = join(bin, 'guestfish');
  const cases = Object.entries(answers).map(([command, answer]) => `    -${command}) ${answer} ;;\n`);
  await writeFile(
    script,
    `#!/bin/sh
while IFS= read -r line; do
  mark=\${line% >&2}; mark=\${mark##* }
  case \${line%% *} in
${cases.join('')}  esac
  echo "$mark" >&3; echo "$mark" >&2
done
`,
  );
  await chmod(script, 0o755);
  await symlink(findProgram('sh')!, join(bin, 'sh'));
  return bin;
}
