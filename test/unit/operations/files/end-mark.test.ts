import { describe, expect, it } from 'vitest';
import { EndMark } from '#nbdelta/operations/files/end-mark.js';

const MARK = 'abcabd\n';

function read(pieces: readonly Buffer[]): { readonly content: string; readonly ended: boolean } {
  const end = new EndMark(MARK);
  const read: Buffer[] = [];
  let ended = false;
  for (const piece of pieces) {
    const next = end.push(piece);
    read.push(next.bytes);
    ended ||= next.ended;
  }
  return { content: Buffer.concat(read).toString('latin1'), ended };
}

describe('the end of a reply', () => {
  // What looks like the mark for a while, and the mark's own beginning twice over.
  const whole = Buffer.from(`abc\nabcabc${MARK}`, 'latin1');

  it('is found wherever the stream is cut', () => {
    for (let first = 0; first <= whole.length; first++) {
      for (let second = first; second <= whole.length; second++) {
        const pieces = [whole.subarray(0, first), whole.subarray(first, second), whole.subarray(second)];
        expect(read(pieces), `${first}, ${second}`).toEqual({ content: 'abc\nabcabc', ended: true });
      }
    }
  });

  it('is not there before it is whole', () => {
    for (let length = 0; length < whole.length; length++) {
      const { content, ended } = read([whole.subarray(0, length)]);
      expect(ended).toBe(false);
      expect('abc\nabcabc'.startsWith(content)).toBe(true);
    }
  });

  it('of nothing', () => expect(read([Buffer.from(MARK)])).toEqual({ content: '', ended: true }));
});
