import { expect, it } from 'vitest';
import { ACK, GREETING, honestAnswer, optionReply } from '../support/scripted-nbd.js';
import type { ScriptedPeer } from '../support/scripted-peer.js';
import { be } from '../support/wire-bytes.js';
import { connectFailure, expectNoHandlesLeft } from './hostile-client.js';

expectNoHandlesLeft();

/** Honest but for one option. */
function lyingAbout(option: number, answer: string) {
  return async (peer: ScriptedPeer) => {
    peer.send(GREETING);
    await peer.take(4);
    while (true) {
      const sent = await peer.option();
      peer.send(sent.option === option ? answer : honestAnswer(sent.option, { size: 4096 }));
    }
  };
}

const info = (hex: string) => optionReply(7, 3, hex);
const EXPORT = info(`0000 ${be(4096, 8)} 0001`);
const DONE = optionReply(7, ACK);

it.each([
  ['a wrong reply magic', 8, `0003e889045565aa ${be(8, 4)} ${be(1, 4)} 00000000`, /option reply magic/],
  ['a reply to another option', 8, optionReply(7, ACK), /reply to option 7/],
  ['an oversize reply', 8, `0003e889045565a9 ${be(8, 4)} ${be(3, 4)} ${be(65537, 4)}`, /65537 bytes/],
  ['a reply of 4 GiB', 7, `0003e889045565a9 ${be(7, 4)} ${be(3, 4)} ffffffff`, /4294967295 bytes/],
  ['a size above 2^53', 7, info('0000 0020000000000000 0001') + DONE, /export size is 9007199254740992/],
  ['a size of 2^64-1', 7, info('0000 ffffffffffffffff 0001') + DONE, /export size/],
  ['success without a size', 7, DONE, /without NBD_INFO_EXPORT/],
  ['information of one byte', 7, info('00') + EXPORT + DONE, /1 bytes/],
  ['a short size', 7, info('0000 00000000') + DONE, /4 bytes, 10 expected/],
  ['a minimum block size of 0', 7, `${EXPORT}${info('0003 00000000 00001000 02000000')}${DONE}`, /minimum/],
  ['a minimum block size of 3', 7, `${EXPORT}${info('0003 00000003 00001000 02000000')}${DONE}`, /minimum/],
  [
    'a preferred block size of 3',
    7,
    `${EXPORT}${info('0003 00000001 00000003 02000000')}${DONE}`,
    /preferred/,
  ],
  ['a maximum of 0', 7, `${EXPORT}${info('0003 00000001 00001000 00000000')}${DONE}`, /maximum/],
  ['a short block size', 7, `${EXPORT}${info('0003 00000001')}${DONE}`, /4 bytes, 12 expected/],
  ['an endless description', 7, `${EXPORT}${info(`0002 ${'61'.repeat(4097)}`)}${DONE}`, /4097/],
  [
    'a context that nobody asked for',
    10,
    optionReply(10, 4, `00000001 ${'62'.repeat(4)}`) + optionReply(10, ACK),
    /nobody asked for/,
  ],
  ['a context without a name', 10, optionReply(10, 4, '00000001') + optionReply(10, ACK), /at least 5/],
])('%s', async (_name, option, answer, message) => {
  const error = await connectFailure(lyingAbout(option, answer));
  expect(error).toMatchObject({ code: 'NBD_PROTOCOL', retryable: false });
  expect(error.message).toMatch(message);
});

it('two contexts with one id', async () => {
  const both = ['base:allocation', 'qemu:dirty-bitmap:b'];
  const answers = both.map(name => optionReply(10, 4, `00000001 ${Buffer.from(name).toString('hex')}`));
  const script = lyingAbout(10, answers.join('') + optionReply(10, ACK));
  const error = await connectFailure(script, { contexts: both });
  expect(error).toMatchObject({ code: 'NBD_PROTOCOL', message: expect.stringMatching(/id 1 twice/) });
});

it('an error with a message that would draw on the terminal', async () => {
  const text = Buffer.from('\x1b[2Jgone\r\n').toString('hex');
  const error = await connectFailure(lyingAbout(7, optionReply(7, 0x80000002, text)));
  expect(error).toMatchObject({ code: 'NBD_OPTION_REFUSED' });
  expect(error.message).toMatch(/NBD_REP_ERR_POLICY/);
  expect(error.message).not.toMatch(/\p{Cc}/u);
});

it.each([
  ['an unknown export', 0x80000006, 'NBD_EXPORT_UNKNOWN', false],
  ['TLS is required', 0x80000005, 'NBD_TLS_REQUIRED', false],
  ['it shuts down', 0x80000007, 'NBD_OPTION_REFUSED', true],
  ['it demands block sizes', 0x80000008, 'NBD_OPTION_REFUSED', false],
  ['it demands extended headers', 0x8000000a, 'NBD_OPTION_REFUSED', false],
  ['of an error that is not known', 0x80001234, 'NBD_OPTION_REFUSED', false],
])('a server says no because %s', async (_name, type, code, retryable) => {
  const error = await connectFailure(lyingAbout(7, optionReply(7, type)));
  expect(error).toMatchObject({ code, retryable });
});
