import { describe, expect, it } from 'vitest';
import { GREETING, type HonestExport, honestAnswer, negotiate } from '../support/scripted-nbd.js';
import type { ScriptedPeer } from '../support/scripted-peer.js';
import { wire } from '../support/wire-bytes.js';
import { connectFailure, expectNoHandlesLeft } from './hostile-client.js';

expectNoHandlesLeft();

const DISK: HonestExport = { size: 1 << 20, mode: 'structured' };

/** Everything that an honest server sends in this handshake, in its steps. */
const STEPS = [GREETING, ...[11, 8, 10, 7].map(option => honestAnswer(option, DISK))].map(step => wire(step));

async function beforeStep(peer: ScriptedPeer, step: number): Promise<void> {
  if (step === 1) await peer.take(4);
  if (step >= 1) await peer.option();
}

/** Sends `count` bytes of the whole handshake, then ends. */
async function sendOnly(peer: ScriptedPeer, count: number): Promise<void> {
  let left = count;
  for (const [index, step] of STEPS.entries()) {
    await beforeStep(peer, index);
    peer.send(step.subarray(0, left));
    left -= step.length;
    if (left <= 0) return;
  }
}

const TOTAL = STEPS.reduce((sum, step) => sum + step.length, 0);

describe('a handshake that is cut off', () => {
  it('at any byte is an error, never an export', async () => {
    for (let count = 0; count < TOTAL; count++) {
      const error = await connectFailure(async peer => {
        await sendOnly(peer, count);
        peer.end();
      });
      expect(error).toMatchObject({ code: 'NBD_CONNECTION_LOST', retryable: true });
      expect(error.message).toMatch(/nbd\.sock/);
    }
  });

  it('by a reset is the same', async () => {
    for (const count of [0, 18, 40, 70, TOTAL - 1]) {
      const error = await connectFailure(async peer => {
        await sendOnly(peer, count);
        peer.cut();
      });
      expect(error).toMatchObject({ code: 'NBD_CONNECTION_LOST' });
    }
  });

  it('or only in the old way of asking for an export, where it may mean that there is none', async () => {
    const error = await connectFailure(async peer => {
      peer.send('4e42444d41474943 49484156454f5054 0000');
      await peer.take(4);
      await peer.option();
      peer.end();
    });
    expect(error).toMatchObject({ code: 'NBD_EXPORT_UNKNOWN', message: expect.stringMatching(/"disk"/) });
  });

  it('the handshake above is honest', async () => {
    await expect(connectFailure(peer => negotiate(peer, DISK))).rejects.toThrow(/was fulfilled/);
  });
});
