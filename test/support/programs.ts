import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Some systems keep servers in folders that are not in an ordinary user's PATH. */
const FOLDERS = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not there, or not for us: both mean that we cannot run it
  }
}

/** Absolute path of an installed program, or undefined. */
export function findProgram(name: string): string | undefined {
  if (name.includes('/')) return isExecutable(name) ? name : undefined;
  return FOLDERS.filter(folder => folder !== '')
    .map(folder => join(folder, name))
    .find(isExecutable);
}
