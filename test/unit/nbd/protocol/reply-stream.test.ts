import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ReplyMode } from '#nbdelta/nbd/protocol/reply-stream.js';
import { ascii, be, wire } from '../../../support/wire-bytes.js';
import { decode, ReplyRecorder } from './reply-recorder.js';

const simple = (cookie: number, error = 0) => ['67446698', be(error, 4), be(cookie, 8)].join(' ');
const chunk = (cookie: number, done: 0 | 1, type: string, length: number) =>
  ['668e33ef', be(done, 2), type, be(cookie, 8), be(length, 4)].join(' ');
const extended = (cookie: number, done: 0 | 1, type: string, offset: number, length: number) =>
  ['6e8a278c', be(done, 2), type, be(cookie, 8), be(offset, 8), be(length, 8)].join(' ');

interface Sample {
  readonly name: string;
  readonly mode: ReplyMode;
  readonly recorder: () => ReplyRecorder;
  readonly bytes: Buffer;
  readonly lines: readonly string[];
}

const SAMPLES: readonly Sample[] = [
  {
    name: 'simple: a read, a flush, an error, in another order than sent',
    mode: 'simple',
    recorder: () => new ReplyRecorder().expect(1, 0, 100, 5).expect(2, 3, 0, 0).expect(3, 0, 0, 9),
    bytes: wire(simple(3, 5), simple(1), '0102030405', simple(2)),
    lines: ['3 error 5 "" -', `3 done ${'ee'.repeat(9)}`, '1 data 100+5', '1 done 0102030405', '2 done'],
  },
  {
    name: 'structured: data and holes in any order, interleaved with another command',
    mode: 'structured',
    recorder: () => new ReplyRecorder().expect(7, 0, 4096, 8).expect(8, 0, 0, 3),
    bytes: wire(
      ...[chunk(7, 0, '0001', 10), be(4102, 8), 'aabb'],
      ...[chunk(8, 0, '0001', 9), be(2, 8), '99'],
      ...[chunk(7, 0, '0002', 12), be(4096, 8), be(4, 4)],
      ...[chunk(8, 1, '0002', 12), be(0, 8), be(2, 4)],
      ...[chunk(7, 0, '0001', 10), be(4100, 8), 'ccdd'],
      chunk(7, 1, '0000', 0),
    ),
    lines: [
      '7 data 4102+2',
      '8 data 2+1',
      '7 hole 4096+4',
      '8 hole 0+2',
      '8 done 000099',
      '7 data 4100+2',
      '7 done 00000000ccddaabb',
    ],
  },
  {
    name: 'structured: errors in the middle of a read, with and without offset',
    mode: 'structured',
    recorder: () => new ReplyRecorder().expect(1, 0, 0, 4).expect(2, 0, 0, 1),
    bytes: wire(
      ...[chunk(1, 0, '0001', 9), be(0, 8), '41'],
      ...[chunk(1, 0, '8002', 6 + 3 + 8), be(5, 4), be(3, 2), ascii('bad'), be(2, 8)],
      ...[chunk(2, 1, '0001', 9), be(0, 8), '42'],
      ...[chunk(1, 0, '8001', 6), be(0, 4), be(0, 2)],
      ...[chunk(1, 1, '8765', 8), be(12, 4), be(0, 2), 'ffff'],
    ),
    lines: [
      '1 data 0+1',
      '1 error 5 "bad" 2',
      '2 data 0+1',
      '2 done 42',
      '1 error 22 "" -',
      '1 error 12 "" -',
      '1 done 41eeeeee',
    ],
  },
  {
    name: 'structured: block status of two contexts, simple replies for writes',
    mode: 'structured',
    recorder: () => new ReplyRecorder().expect(1, 7, 0, 4096).expect(2, 1, 0, 4).expect(3, 6, 0, 4),
    bytes: wire(
      ...[chunk(1, 0, '0005', 12), '00000001 00001000 00000003'],
      simple(2),
      ...[chunk(1, 1, '0005', 20), '00000002 00000800 00000000 00000800 00000001'],
      simple(3, 28),
    ),
    lines: [
      '1 status 000000010000100000000003',
      '2 done',
      '1 status 0000000200000800000000000000080000000001',
      '1 done',
      '3 error 28 "" -',
      '3 done',
    ],
  },
  {
    name: 'extended: data, hole, block status, error, none',
    mode: 'extended',
    recorder: () =>
      new ReplyRecorder()
        .expect(1, 0, 0x200000000, 4)
        .expect(2, 7, 0, 0x300000000)
        .expect(3, 1, 512, 4)
        .expect(4, 4, 9, 4),
    bytes: wire(
      ...[extended(1, 0, '0001', 0x200000000, 11), be(0x200000000, 8), '010203'],
      ...[extended(2, 1, '0006', 0, 24), '00000005 00000001 0000000300000000 0000000000000002'],
      ...[extended(3, 1, '8001', 512, 10), be(28, 4), be(4, 2), ascii('full')],
      ...[extended(1, 1, '0002', 0x200000000, 12), be(0x200000003, 8), be(1, 4)],
      extended(4, 1, '0000', 9, 0),
    ),
    lines: [
      '1 data 8589934592+3',
      '2 status extended 000000050000000100000003000000000000000000000002',
      '2 done',
      '3 error 28 "full" -',
      '3 done',
      '1 hole 8589934595+1',
      '1 done 01020300',
      '4 done',
    ],
  },
];

describe.each(SAMPLES)('ReplyStream, $name', ({ mode, recorder, bytes, lines }) => {
  it('in one piece', () => {
    expect(decode(mode, recorder(), [bytes])).toEqual(lines);
  });

  it('byte by byte', () => {
    const pieces = Array.from(bytes, (_, index) => bytes.subarray(index, index + 1));
    expect(decode(mode, recorder(), pieces)).toEqual(lines);
  });

  it('split at every byte', () => {
    for (let at = 1; at < bytes.length; at++) {
      expect(decode(mode, recorder(), [bytes.subarray(0, at), bytes.subarray(at)])).toEqual(lines);
    }
  });

  it('cut anywhere tells nothing that is not there', () => {
    for (let at = 0; at < bytes.length; at++) {
      const told = decode(mode, recorder(), [bytes.subarray(0, at)]);
      expect(lines.slice(0, told.length)).toEqual(told);
      expect(told.length).toBeLessThan(lines.length);
    }
  });
});

describe('ReplyStream memory', () => {
  it('lets a large payload be received straight into its place', () => {
    const recorder = new ReplyRecorder().expect(1, 0, 0, 100_000);
    const bytes = Buffer.concat([wire(chunk(1, 1, '0001', 100_008), be(0, 8)), Buffer.alloc(100_000, 7)]);
    expect(decode('structured', recorder, [bytes]).at(-1)).toBe(`1 done ${'07'.repeat(100_000)}`);
  });
});

describe('ReplyStream against a model', () => {
  /** A structured reply to a read of `content` at `offset`: pieces in random order, any of them a hole if zero. */
  const reply = fc.record({
    content: fc.uint8Array({ minLength: 1, maxLength: 3_000, max: 3 }),
    offset: fc.nat(1_000_000),
    cuts: fc.array(fc.nat(3_000), { maxLength: 5 }),
    order: fc.array(fc.nat(1_000), { minLength: 6, maxLength: 6 }),
    separateDone: fc.boolean(),
  });

  it('any chunks, order, interleaving and packets give the bytes of the disk', () => {
    fc.assert(
      fc.property(
        fc.array(reply, { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(1_000_000), { minLength: 1, maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 2_500 }), { minLength: 1, maxLength: 20 }),
        (replies, choices, sizes) => {
          const recorder = new ReplyRecorder();
          const queues = replies.map((one, index) => {
            recorder.expect(index, 0, one.offset, one.content.length);
            return chunksOf(index, one);
          });
          const stream = Buffer.concat(interleave(queues, choices));
          const lines = decode('structured', recorder, packets(stream, sizes));
          const done = lines.filter(line => line.includes('done')).sort();
          expect(done).toEqual(
            replies
              .map(({ content }, index) => `${index} done ${Buffer.from(content).toString('hex')}`)
              .sort(),
          );
        },
      ),
      { numRuns: 200 },
    );
  });
});

function chunksOf(
  cookie: number,
  one: { content: Uint8Array; offset: number; cuts: number[]; order: number[]; separateDone: boolean },
): Buffer[] {
  const edges = [...new Set([0, ...one.cuts.map(cut => cut % one.content.length), one.content.length])];
  edges.sort((a, b) => a - b);
  const parts = edges
    .slice(1)
    .map((end, index) => ({ start: edges[index]!, end, rank: one.order[index % 6]! }));
  parts.sort((a, b) => a.rank - b.rank);
  const chunks = parts.map(({ start, end }, index) => {
    const done = !one.separateDone && index === parts.length - 1 ? 1 : 0;
    const bytes = Buffer.from(one.content.subarray(start, end));
    const at = be(one.offset + start, 8);
    if (bytes.every(byte => byte === 0)) return wire(chunk(cookie, done, '0002', 12), at, be(end - start, 4));
    return wire(chunk(cookie, done, '0001', 8 + bytes.length), at, bytes.toString('hex'));
  });
  return one.separateDone ? [...chunks, wire(chunk(cookie, 1, '0000', 0))] : chunks;
}

/** Merges queues, each in its own order. */
function interleave(queues: Buffer[][], choices: readonly number[]): Buffer[] {
  const result: Buffer[] = [];
  for (let turn = 0; queues.some(queue => queue.length > 0); turn++) {
    const open = queues.filter(queue => queue.length > 0);
    result.push(open[choices[turn % choices.length]! % open.length]!.shift()!);
  }
  return result;
}

function packets(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const result: Buffer[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length]!;
    result.push(bytes.subarray(at, at + size));
    at += size;
  }
  return result;
}

describe('ReplyStream refuses', () => {
  const MANY = (1 << 20) + 1;
  const cases: readonly (readonly [string, ReplyMode, string, RegExp])[] = [
    ['a wrong magic', 'structured', `67446699 ${'00'.repeat(12)}`, /reply magic is 0x67446699/],
    ['a structured reply in simple mode', 'simple', chunk(1, 1, '0000', 0), /magic/],
    ['a simple reply in extended mode', 'extended', simple(1), /magic/],
    ['a structured reply in extended mode', 'extended', chunk(1, 1, '0000', 0), /magic/],
    ['an extended reply in structured mode', 'structured', extended(1, 1, '0000', 512, 0), /magic/],
    ['an unknown cookie', 'structured', chunk(9, 1, '0000', 0), /cookie 9/],
    ['a cookie above 2^53', 'structured', `668e33ef 0001 0000 ${'ff'.repeat(8)} 00000000`, /cookie/],
    ['an unknown type', 'structured', chunk(1, 1, '0003', 0), /unknown reply chunk type 3/],
    ['a simple reply to a read in structured mode', 'structured', simple(1), /simple reply to NBD_CMD_READ/],
    ['NONE without DONE', 'structured', chunk(1, 0, '0000', 0), /without NBD_REPLY_FLAG_DONE/],
    ['NONE with a payload', 'structured', chunk(1, 1, '0000', 1), /1 bytes, 0 expected/],
    ['data without a byte', 'structured', `${chunk(1, 1, '0001', 8)} ${be(512, 8)}`, /at least 9/],
    ['data before', 'structured', `${chunk(1, 1, '0001', 9)} ${be(511, 8)}`, /outside its request 512\+16/],
    ['data behind', 'structured', `${chunk(1, 1, '0001', 9)} ${be(528, 8)}`, /outside its request/],
    ['data across the end', 'structured', `${chunk(1, 1, '0001', 25)} ${be(512, 8)}`, /outside/],
    ['huge data', 'structured', `${chunk(1, 1, '0001', 0xffffffff)} ${be(512, 8)}`, /outside/],
    ['a hole outside', 'structured', `${chunk(1, 1, '0002', 12)} ${be(512, 8)} ${be(17, 4)}`, /hole chunk/],
    ['an empty hole', 'structured', `${chunk(1, 1, '0002', 12)} ${be(512, 8)} ${be(0, 4)}`, /hole chunk/],
    ['a hole of 11 bytes', 'structured', chunk(1, 1, '0002', 11), /12 expected/],
    ['an error without a message length', 'structured', chunk(1, 1, '8001', 5), /6 to/],
    ['a huge error', 'structured', chunk(1, 1, '8001', 0x7fffffff), /6 to/],
    [
      'an error whose message is longer than it',
      'structured',
      `${chunk(1, 1, '8001', 6)} 00000005 ffff`,
      /needs/,
    ],
    [
      'an error offset outside',
      'structured',
      `${chunk(1, 1, '8002', 14)} 00000005 0000 ${be(9, 8)}`,
      /EIO chunk/,
    ],
    ['an error without its offset', 'structured', `${chunk(1, 1, '8002', 6)} 00000005 0000`, /needs 14/],
    ['a status of no descriptor', 'structured', chunk(2, 1, '0005', 4), /multiple of 8/],
    ['a status of 1.5 descriptors', 'structured', chunk(2, 1, '0005', 16), /multiple of 8/],
    ['a status of 2^20+1 descriptors', 'structured', chunk(2, 1, '0005', 4 + 8 * MANY), /multiple of 8/],
    [
      'a 64-bit status in structured mode',
      'structured',
      `${chunk(2, 1, '0006', 24)} ${'00'.repeat(24)}`,
      /mode/,
    ],
    [
      'a 32-bit status in extended mode',
      'extended',
      `${extended(2, 1, '0005', 0, 12)} ${'00'.repeat(12)}`,
      /mode/,
    ],
    ['a 64-bit status of 2^20+1', 'extended', extended(2, 1, '0006', 0, 8 + 16 * MANY), /multiple of 16/],
    [
      'a payload above 2^53',
      'extended',
      `6e8a278c 0001 0001 ${be(1, 8)} ${be(512, 8)} ${'ff'.repeat(8)}`,
      /payload/,
    ],
    ['an offset that is not the request’s', 'extended', extended(1, 1, '0000', 513, 0), /offset 513.*512/],
  ];
  it.each(cases)('%s', (_name, mode, hex, message) => {
    const recorder = new ReplyRecorder().expect(1, 0, 512, 16).expect(2, 7, 0, 1 << 30);
    const error = expect.objectContaining({ code: 'NBD_PROTOCOL', message: expect.stringMatching(message) });
    expect(() => decode(mode, recorder, [wire(hex)])).toThrow(error);
    expect(recorder.lines.filter(line => /done|hole|status/.test(line))).toEqual([]);
  });

  it('takes a status of exactly 2^20 descriptors', () => {
    const recorder = new ReplyRecorder().expect(2, 7, 0, 1 << 30);
    const header = wire(chunk(2, 1, '0005', 4 + 8 * (1 << 20)));
    decode('structured', recorder, [header, Buffer.alloc(4 + 8 * (1 << 20))]);
    expect(recorder.lines.at(-1)).toBe('2 done');
  });
});
