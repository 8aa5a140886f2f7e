/** Where a run leaves its results: `results.json`, `table.md` and `plot.svg`. */
import { accessSync, constants, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolders } from '#nbdelta/process/make-folders.js';
import { plotResults } from './plot.mjs';
import { cellsOf, HEADS, say, sentenceOf } from './report.mjs';

/** A pipe in a command would be one more column. */
const row = cells => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`;

function tableOf(run) {
  const lines = ['# Results of `npm run bench`', '', ...run.machine, '', run.about, ''];
  for (const { name, bytes, contenders, targets } of run.comparisons) {
    lines.push(`## ${name}`, '', row(['', ...HEADS]), row(['---', ...HEADS.map(() => '--:')]));
    for (const each of contenders) {
      if (each.missing)
        lines.push(row([each.name, `left out: ${each.missing}`, ...HEADS.slice(1).map(() => '')]));
      else lines.push(row([each.name, ...cellsOf(each, bytes)]));
    }
    lines.push('', ...targets.map(target => `- ${target.what}, ${sentenceOf(target)}`), '');
  }
  for (const { name, lines: said } of run.others) lines.push(`## ${name}`, '', '```', ...said, '```', '');
  return lines.join('\n');
}

/** The folder, made when it is not there; undefined, with one line that says why, when nothing can be written. */
export async function openResults(folder) {
  try {
    await makeFolders(folder, 0o777);
    accessSync(folder, constants.W_OK);
    return folder;
  } catch (error) {
    say(`results are printed only: ${folder} cannot be written (${error.code})`);
    return undefined;
  }
}

/** Writes what there is so far; called after each comparison, so that an interrupted run leaves its part. */
export function writeResults(folder, run) {
  if (folder === undefined || run.comparisons.length + run.others.length === 0) return;
  writeFileSync(join(folder, 'results.json'), `${JSON.stringify(run, null, 2)}\n`);
  writeFileSync(join(folder, 'table.md'), tableOf(run));
  writeFileSync(join(folder, 'plot.svg'), plotResults(run.comparisons, run.machine));
}
