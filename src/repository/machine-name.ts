import { UsageError } from '../errors.js';

const MACHINE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** Whether `name` can be a machine's name, which is also its folder's. */
export function isMachineName(name: string): boolean {
  return MACHINE_NAME.test(name);
}

/** @throws UsageError when `name` cannot be a machine's name. */
export function checkMachineName(name: string): void {
  if (isMachineName(name)) return;
  throw new UsageError(`not a machine name: ${JSON.stringify(name.slice(0, 200))}`, {
    hint: 'Use at most 128 letters, digits, ".", "_" and "-", not starting with "." or "-".',
  });
}
