import { expect, it } from 'vitest';
import { outlivesReaders } from '#nbdelta/hypervisor/io-threads.js';

it.each([
  ['7.2.22', false],
  ['8.1.9', false],
  ['8.2.2', false],
  ['8.2.3', true],
  ['9.0.0', true],
  ['10.0.2', true],
])('the NBD server of QEMU %s puts its clients away in the main thread: %s', (version, safe) => {
  expect(outlivesReaders(version)).toBe(safe);
});
