/**
 * `node killed-backup.mjs OPTIONS STEP`: runs backupGuest and kills itself, as a power cut would, when it reaches STEP.
 * STEP is a step of the backup, `planned` (the journal is written, nothing exists yet) or `half-data`.
 */
import { backupGuest } from '#nbdelta/index.js';

const [options, step] = [JSON.parse(process.argv[2]), process.argv[3]];
const die = () => process.kill(process.pid, 'SIGKILL');

await backupGuest({
  ...options,
  // Small frames: there is a half of the data to be reached.
  frameSize: 65_536,
  onStep: reached => {
    if (reached === step) die();
  },
  onProgress: ({ phase, done, total }) => {
    if (step === 'half-data' && phase === 'data' && done * 2 >= total) die();
  },
});
process.stderr.write(`the step ${step} was never reached\n`);
process.exit(3);
