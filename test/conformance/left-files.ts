import { readdir } from 'node:fs/promises';

/** What is in a folder that should be empty, or not there at all. */
export async function filesIn(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).map(name => `file ${name}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
