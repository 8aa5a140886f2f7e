import { readFile } from 'node:fs/promises';

/**
 * Ends the programs that guestfish has started: QEMU, or `supermin`, which builds the appliance. guestfish itself then
 * fails at what it does and clears its folders away, which it would not do when it were ended by a signal.
 */
export async function endPrograms(guestfish: number): Promise<void> {
  for (const pid of await childrenOf(guestfish)) {
    // Its own child of the same name watches over it, and ends by itself.
    if ((await read(`/proc/${pid}/comm`)).startsWith('guestfish')) continue;
    try {
      process.kill(pid, 'SIGTERM');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  return (await read(`/proc/${pid}/task/${pid}/children`)).split(' ').filter(Boolean).map(Number);
}

/** Nothing of a process that has ended. */
async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return '';
    throw error;
  }
}
