import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TempFolder } from './temp-folder.js';

/** What a virsh command prints; with `error` it fails, as virsh does. */
export type VirshAnswer = { readonly output: string } | { readonly error: string };

/**
 * A virsh that gives prepared answers by command, and fails on every other.
 * @returns PATH with it in front.
 */
export async function makeFakeVirsh(
  folder: TempFolder,
  answers: Readonly<Record<string, VirshAnswer>>,
): Promise<string> {
  const bin = folder.file('fake-bin');
  await mkdir(bin, { recursive: true });
  const cases = Object.entries(answers).map(([command, answer], index) => {
    const file = join(bin, `answer-${index}`);
    return { command, answer, file };
  });
  for (const { answer, file } of cases)
    await writeFile(file, 'output' in answer ? answer.output : answer.error);
  const lines = cases.map(({ command, answer, file }) =>
    'output' in answer ? `${command}) cat ${file};;` : `${command}) cat ${file} >&2; exit 1;;`,
  );
  const script = `#!/bin/sh
for word; do case "$word" in -*) ;; *) break;; esac; done
[ "$1" = --version ] && { echo 9.0.0; exit; }
case "$word" in
${lines.join('\n')}
*) echo "error: unknown command: '$word'" >&2; exit 1;;
esac
`;
  await writeFile(join(bin, 'virsh'), script);
  await chmod(join(bin, 'virsh'), 0o755);
  return `${bin}:${process.env['PATH'] ?? ''}`;
}
