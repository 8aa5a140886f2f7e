// Takes a machine's lock as often as it can and writes down when it held it.
// Usage: node lock-racer.mjs REPO MACHINE ROUNDS MODE; MODE `die` ends holding the lock, without releasing it.
import { appendFileSync } from 'node:fs';
import { openRepository } from '#nbdelta/repository/repository.js';

const [location, name, rounds, mode] = process.argv.slice(2);
const machine = (await openRepository(location)).machine(name);
const note = what => appendFileSync(`${location}/../journal`, `${what} ${process.pid}\n`);

for (let held = 0; held < Number(rounds); ) {
  try {
    const lock = await machine.lock(`racer ${process.pid}`);
    note('take');
    await new Promise(resolve => setTimeout(resolve, 2));
    await lock.checkStillHeld();
    held++;
    if (mode === 'die' && held === Number(rounds)) {
      note('die');
      process.kill(process.pid, 'SIGKILL');
    }
    note('free');
    await lock.release();
  } catch (error) {
    if (error.code !== 'LOCKED') throw error;
    await new Promise(resolve => setTimeout(resolve, 1));
  }
}
