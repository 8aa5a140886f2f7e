import { expect, it } from 'vitest';
import { be } from '../support/wire-bytes.js';
import { connectFailure, expectNoHandlesLeft } from './hostile-client.js';

expectNoHandlesLeft();

it('an oldstyle greeting is named as such', async () => {
  const error = await connectFailure(async peer => {
    peer.send(
      `4e42444d41474943 00420281861253 ${be(1 << 20, 8)} 00000001`.replace(
        '00420281861253',
        '0000420281861253',
      ),
    );
    peer.send('00'.repeat(124));
    await peer.gone();
  });
  expect(error).toMatchObject({ code: 'NBD_OLDSTYLE', message: expect.stringMatching(/oldstyle/) });
  expect(error.hint).toMatch(/newstyle/);
});
