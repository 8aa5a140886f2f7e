/** Restoring to a stream whose reader misbehaves: the restore must end, whatever the reader does. */
import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { restore } from '#nbdelta/index.js';
import { codeOf } from '../../support/restore-check.js';
import { type TempFolder, tempFolder } from '../../support/temp-folder.js';
import { backUpGuests, TrackedGuest } from '../../support/tracked-guest.js';

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
  const guest = new TrackedGuest(2 ** 22);
  guest.write(0, randomBytes(2 ** 22));
  await backUpGuests(folder, { vda: guest });
});
afterAll(() => folder[Symbol.asyncDispose]());

function restoreTo(output: PassThrough, signal?: AbortSignal) {
  return restore({ repository: folder.file('repo'), point: 'guest', to: '-', output, signal });
}

it('stops on request while the reader takes nothing', async () => {
  const stop = new AbortController();
  const restoring = restoreTo(new PassThrough(), stop.signal);
  setTimeout(() => stop.abort(), 50);
  expect(await codeOf(restoring)).toBe('ABORTED');
});

it('ends when the output is closed without an error', async () => {
  const output = new PassThrough();
  const restoring = restoreTo(output);
  output.once('data', () => output.destroy());
  expect(await codeOf(restoring)).toBe('TARGET_INVALID');
});

it('ends when the output was closed before it began', async () => {
  const output = new PassThrough();
  output.destroy();
  expect(await codeOf(restoreTo(output))).toBe('TARGET_INVALID');
});

it('ends when the output breaks', async () => {
  const output = new PassThrough();
  const restoring = restoreTo(output);
  output.once('data', () => output.destroy(new Error('EPIPE')));
  expect(await codeOf(restoring)).toBe('TARGET_INVALID');
});

it('leaves no listener on an output that goes on', async () => {
  const output = new PassThrough();
  output.resume();
  const before = output.eventNames().map(name => [name, output.listenerCount(name)]);
  await restoreTo(output);
  expect(output.eventNames().map(name => [name, output.listenerCount(name)])).toEqual(before);
});
