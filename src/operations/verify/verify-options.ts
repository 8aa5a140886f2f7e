import { UsageError } from '../../errors.js';
import type { VerifyOptions } from './verify.js';

/** @throws UsageError */
export function checkVerifyOptions({ point, sample, seed, against }: VerifyOptions): void {
  if (sample !== undefined && !(sample > 0 && sample <= 1)) {
    throw new UsageError(`a sample of ${sample * 100} %, expected more than 0 % and at most 100 %`);
  }
  if (seed !== undefined && sample === undefined)
    throw new UsageError('a seed means something with a sample only');
  if (seed !== undefined && !(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)) {
    throw new UsageError(`seed ${seed}, expected a whole number below 2^32`);
  }
  if (against === undefined) return;
  if (sample !== undefined) throw new UsageError('a comparison with an export takes no sample');
  if (point === undefined || against.length === 0) {
    throw new UsageError('which point is to be compared, and with what?', {
      hint: 'verify MACHINE[@POINT] --against DISK=URI',
    });
  }
}
