/** The handshake without a socket. Expected bytes are written out from doc/proto.md, not made by our encoders. */
import { describe, expect, it } from 'vitest';
import { type HandshakeStep, serverHandshake } from '#nbdelta/nbd/server/handshake.js';
import type { HandshakePolicy, Negotiated } from '#nbdelta/nbd/server/negotiation.js';
import { exportTable, type ServedExport } from '#nbdelta/nbd/server/served-export.js';
import { ascii, wire } from './raw-client.js';
import { SampleSource } from './sample-source.js';

const source = new SampleSource({
  content: Buffer.alloc(0x1234),
  maps: {
    'base:allocation': [{ length: 0x1234, status: 0 }],
    'qemu:dirty-bitmap:b0': [{ length: 0x1234, status: 1 }],
    'qemu:dirty-bitmap:b1': [{ length: 0x1234, status: 0 }],
  },
});
const EXPORTS: readonly ServedExport[] = [
  { name: 'vda', description: 'disk', source },
  { name: '', source },
];

const GREETING = '4e42444d41474943 49484156454f5054 0003';
const BOTH_FLAGS = '00000003';

function option(number: string, data = ''): string {
  const length = (wire(data).length >>> 0).toString(16).padStart(8, '0');
  return `49484156454f5054 000000${number} ${length} ${data}`;
}

function reply(number: string, type: string, data = ''): string {
  const length = wire(data).length.toString(16).padStart(8, '0');
  return `0003e889045565a9 000000${number} ${type} ${length} ${data}`;
}

const ACK = '00000001';
const hex = (...parts: readonly string[]) => wire(...parts).toString('hex');

interface Talk {
  /** What the server sent after its greeting. */
  readonly sent: string;
  readonly steps: readonly HandshakeStep[];
  readonly outcome: Negotiated | undefined | 'waits';
}

/** Plays a client that sends all of `input`, however much the server takes. */
function talk(policy: Partial<HandshakePolicy>, ...input: readonly string[]): Talk {
  const handshake = serverHandshake({
    exports: exportTable(EXPORTS),
    tls: false,
    extendedHeaders: true,
    ...policy,
  });
  const bytes = wire(...input);
  const sent: Uint8Array[] = [];
  const steps: HandshakeStep[] = [];
  const finish = (outcome: Talk['outcome']): Talk => {
    const text = Buffer.concat(sent).toString('hex');
    expect(text.slice(0, 36)).toBe(hex(GREETING));
    return { sent: text.slice(36), steps, outcome };
  };
  let at = 0;
  let next = handshake.next(Buffer.alloc(0));
  while (!next.done) {
    const step = next.value;
    steps.push(step);
    let given: Buffer = Buffer.alloc(0);
    if (step.kind === 'need') {
      if (at + step.length > bytes.length) return finish('waits');
      given = bytes.subarray(at, at + step.length);
      at += step.length;
    } else if (step.kind === 'skip') at += step.length;
    else sent.push(step.kind === 'secure' ? step.consent : step.bytes);
    next = handshake.next(given);
  }
  return finish(next.value);
}

/** An error reply of that type came last; its text is for people. */
function expectError(sent: string, number: string, type: string): void {
  expect(sent.slice(0, 32)).toBe(hex(reply(number, type)).slice(0, 32));
}

describe('the greeting', () => {
  it('is NBDMAGIC, IHAVEOPT, fixed newstyle and no zeroes', () => {
    expect(talk({}).outcome).toBe('waits');
  });

  it('drops a client with flags that nobody knows', () => {
    expect(() => talk({}, '00000004')).toThrow(/client flags are 0x4/);
    expect(() => talk({}, '80000003')).toThrow(/client flags are 0x80000003/);
  });

  it('drops a client whose option magic is wrong', () => {
    expect(() => talk({}, BOTH_FLAGS, '49484156454f5055 00000007 00000000')).toThrow(/option magic/);
  });

  it('lets a client without fixed newstyle only choose an export', () => {
    expect(() => talk({}, '00000002', option('03'))).toThrow(/without fixed newstyle/);
    expect(talk({}, '00000002', option('01', ascii('vda'))).outcome).toMatchObject({ mode: 'simple' });
  });
});

describe('NBD_OPT_EXPORT_NAME', () => {
  it('answers size and flags, and 124 zeroes for a client that did not decline them', () => {
    const plain = talk({}, '00000001', option('01', ascii('vda')));
    expect(plain.sent).toBe(hex('0000000000001234 0503', '00'.repeat(124)));
    const short = talk({}, BOTH_FLAGS, option('01', ascii('vda')));
    expect(short.sent).toBe(hex('0000000000001234 0503'));
    expect(short.outcome).toMatchObject({ mode: 'simple', contexts: [], served: { name: 'vda' } });
  });

  it('takes the empty name for the default export', () => {
    expect(talk({}, BOTH_FLAGS, option('01')).outcome).toMatchObject({ served: { name: '' } });
  });

  it('ends the connection when it cannot be met: it has no error reply', () => {
    expect(() => talk({}, BOTH_FLAGS, option('01', ascii('vdb')))).toThrow(/no export "vdb"/);
    expect(() => talk({ tls: true }, BOTH_FLAGS, option('01', ascii('vda')))).toThrow(/TLS/);
    expect(() => talk({}, BOTH_FLAGS, option('0b'), option('01', ascii('vda')))).toThrow(/extended/);
    expect(() => talk({}, BOTH_FLAGS, '49484156454f5054 00000001 00001001')).toThrow(/4097 bytes/);
  });
});

describe('NBD_OPT_LIST, NBD_OPT_ABORT and the unknown', () => {
  it('lists name and description', () => {
    const { sent, outcome } = talk({}, BOTH_FLAGS, option('03'));
    const first = reply('03', '00000002', `00000003 ${ascii('vda')} ${ascii('disk')}`);
    expect(sent).toBe(hex(first, reply('03', '00000002', '00000000'), reply('03', ACK)));
    expect(outcome).toBe('waits');
  });

  it('refuses data where none belongs', () => {
    for (const number of ['03', '08', '0b'])
      expectError(talk({}, BOTH_FLAGS, option(number, '00')).sent, number, '80000003');
  });

  it('says goodbye, also to one who talks on', () => {
    const { sent, outcome, steps } = talk({}, BOTH_FLAGS, option('02', '0102'), option('03'));
    expect(sent).toBe(hex(reply('02', ACK)));
    expect(outcome).toBeUndefined();
    expect(steps.at(-1)?.kind).toBe('farewell');
  });

  it('answers an unknown option with NBD_REP_ERR_UNSUP and goes on', () => {
    const { sent, outcome } = talk({}, BOTH_FLAGS, option('04'), option('ff', '0102030405'), option('02'));
    expectError(sent, '04', '80000001');
    expect(sent).toContain(hex('000000ff 80000001'));
    expect(outcome).toBeUndefined();
  });

  it('skips oversized data without taking memory for it', () => {
    const { sent, steps } = talk({}, BOTH_FLAGS, '49484156454f5054 00000007 00010001');
    expect(steps.filter(step => step.kind === 'skip')).toEqual([{ kind: 'skip', length: 65537 }]);
    expectError(sent, '07', '80000009');
    expect(() => talk({}, BOTH_FLAGS, '49484156454f5054 00000063 02000001')).toThrow(/33554433 bytes/);
    expect(() => talk({}, BOTH_FLAGS, '49484156454f5054 00000007 ffffffff')).toThrow(/4294967295 bytes/);
  });
});

describe('NBD_OPT_INFO and NBD_OPT_GO', () => {
  const wish = (requests = '') =>
    `00000003 ${ascii('vda')} ${(wire(requests).length / 2).toString(16).padStart(4, '0')} ${requests}`;

  it('gives what is asked for, in the layout of the specification', () => {
    const infos = (number: string) => [
      reply(number, '00000003', '0000 0000000000001234 0503'),
      reply(number, '00000003', `0001 ${ascii('vda')}`),
      reply(number, '00000003', `0002 ${ascii('disk')}`),
      reply(number, '00000003', '0003 00000001 00001000 02000000'),
      reply(number, ACK),
    ];
    const all = wish('0003 0001 0002 00ff');
    const info = talk({}, BOTH_FLAGS, option('06', all));
    expect(info.sent).toBe(hex(...infos('06')));
    expect(info.outcome).toBe('waits');
    const go = talk({}, BOTH_FLAGS, option('07', all));
    expect(go.sent).toBe(hex(...infos('07')));
    expect(go.outcome).toMatchObject({ served: { name: 'vda' } });
  });

  it('gives the export alone when nothing is asked for', () => {
    const { sent } = talk({}, BOTH_FLAGS, option('07', wish()));
    expect(sent).toBe(hex(reply('07', '00000003', '0000 0000000000001234 0503'), reply('07', ACK)));
  });

  it('sends NBD_FLAG_SEND_DF only when replies can be fragmented', () => {
    for (const number of ['08', '0b']) {
      const { sent, outcome } = talk({}, BOTH_FLAGS, option(number), option('07', wish()));
      const info = reply('07', '00000003', '0000 0000000000001234 0583');
      expect(sent).toBe(hex(reply(number, ACK), info, reply('07', ACK)));
      expect(outcome).toMatchObject({ mode: number === '08' ? 'structured' : 'extended' });
    }
  });

  it('does not know an export that is not there', () => {
    const { sent, outcome } = talk({}, BOTH_FLAGS, option('07', `00000003 ${ascii('vdb')} 0000`));
    expectError(sent, '07', '80000006');
    expect(outcome).toBe('waits');
  });

  it.each([
    ['empty', ''],
    ['no count', `00000003 ${ascii('vda')}`],
    ['a name longer than the data', `00000009 ${ascii('vda')} 0000`],
    ['a name of 4 GiB', `ffffffff ${ascii('vda')} 0000`],
    ['more requests than said', `00000003 ${ascii('vda')} 0000 0001`],
    ['fewer requests than said', `00000003 ${ascii('vda')} ffff 0001`],
    ['half a request', `00000003 ${ascii('vda')} 0001 00`],
  ])('refuses malformed data: %s', (_what, data) => {
    const { sent, outcome } = talk({}, BOTH_FLAGS, option('07', data));
    expectError(sent, '07', '80000003');
    expect(outcome).toBe('waits');
  });

  it('tells of block sizes of its own', () => {
    const blockSize = { minimum: 4, preferred: 65536, maximum: 0x100000 };
    const exports = exportTable([{ name: 'vda', source, blockSize }]);
    const { sent } = talk({ exports }, BOTH_FLAGS, option('06', wish('0003')));
    expect(sent).toContain(hex('0003 00000004 00010000 00100000'));
  });
});

describe('structured replies and extended headers', () => {
  it('prefers extended headers', () => {
    const { sent } = talk({}, BOTH_FLAGS, option('08'), option('0b'), option('08'));
    expect(sent.startsWith(hex(reply('08', ACK), reply('0b', ACK)))).toBe(true);
    expectError(sent.slice(80), '08', '8000000a');
  });

  it('has no extended headers when told so', () => {
    expectError(talk({ extendedHeaders: false }, BOTH_FLAGS, option('0b')).sent, '0b', '80000001');
  });
});

describe('meta contexts', () => {
  const query = (exportName: string, ...queries: readonly string[]) => {
    const u32 = (value: number) => value.toString(16).padStart(8, '0');
    const texts = queries.map(text => u32(text.length) + ascii(text)).join('');
    return `${u32(exportName.length)} ${ascii(exportName)} ${u32(queries.length)} ${texts}`;
  };
  const context = (number: string, id: string, name: string) =>
    reply(number, '00000004', `${id} ${ascii(name)}`);
  const structured = reply('08', ACK);
  const go = option('07', `00000003 ${ascii('vda')} 0000`);

  it.each([
    [[], ['base:allocation', 'qemu:dirty-bitmap:b0', 'qemu:dirty-bitmap:b1']],
    [['base:'], ['base:allocation']],
    [['qemu:'], ['qemu:dirty-bitmap:b0', 'qemu:dirty-bitmap:b1']],
    [['qemu:dirty-bitmap:'], ['qemu:dirty-bitmap:b0', 'qemu:dirty-bitmap:b1']],
    [
      ['qemu:dirty-bitmap:b1', 'base:'],
      ['base:allocation', 'qemu:dirty-bitmap:b1'],
    ],
    [['qemu:dirty-bitmap:b', 'x-none:', 'nocolon'], []],
  ])('lists those that match %j', (queries, found) => {
    const { sent } = talk({}, BOTH_FLAGS, option('08'), option('09', query('vda', ...queries)));
    const replies = found.map(name => context('09', '00000000', name));
    expect(sent).toBe(hex(structured, ...replies, reply('09', ACK)));
  });

  it('selects exact names only, and keeps them for GO', () => {
    const wish = query('vda', 'base:', 'qemu:dirty-bitmap:b1', 'base:allocation', 'base:allocation');
    const { sent, outcome } = talk({}, BOTH_FLAGS, option('08'), option('0a', wish), go);
    const selected = [
      context('0a', '00000000', 'base:allocation'),
      context('0a', '00000002', 'qemu:dirty-bitmap:b1'),
    ];
    expect(sent.startsWith(hex(structured, ...selected, reply('0a', ACK)))).toBe(true);
    expect(outcome).toMatchObject({
      contexts: [
        { id: 0, name: 'base:allocation' },
        { id: 2, name: 'qemu:dirty-bitmap:b1' },
      ],
    });
  });

  it.each([
    ['a later selection of nothing', query('vda')],
    ['a later selection that fails', query('vdb', 'base:allocation')],
    ['a later selection that is malformed', '00'],
    ['a selection for another export', query('', 'base:allocation')],
  ])('forgets the contexts after %s', (_what, wish) => {
    const first = option('0a', query('vda', 'base:allocation'));
    expect(talk({}, BOTH_FLAGS, option('08'), first, option('0a', wish), go).outcome).toMatchObject({
      contexts: [],
    });
  });

  it('needs structured replies or extended headers', () => {
    for (const number of ['09', '0a'])
      expectError(talk({}, BOTH_FLAGS, option(number, query('vda'))).sent, number, '80000003');
    const { sent } = talk({}, BOTH_FLAGS, option('0b'), option('0a', query('vda', 'base:allocation')));
    expect(sent.endsWith(hex(reply('0a', ACK)))).toBe(true);
  });

  it.each([
    ['nothing', ''],
    ['no count', '00000000'],
    ['a count of 2^32-1', '00000000 ffffffff'],
    ['a query longer than the data', '00000000 00000001 00000005 62617365'],
    ['bytes behind the last query', '00000000 00000000 00'],
  ])('refuses malformed data: %s', (_what, data) => {
    const { sent } = talk({}, BOTH_FLAGS, option('08'), option('0a', data));
    expectError(sent.slice(40), '0a', '80000003');
  });
});

describe('NBD_OPT_STARTTLS', () => {
  const go = option('07', `00000003 ${ascii('vda')} 0000`);

  it('is refused by policy where there is no TLS', () => {
    expectError(talk({}, BOTH_FLAGS, option('05')).sent, '05', '80000002');
  });

  it.each(['03', '04', '06', '07', '08', '09', '0a', '0b', '63'])('comes before option 0x%s', number => {
    const { sent, outcome } = talk({ tls: true }, BOTH_FLAGS, option(number, '0000000000'));
    expectError(sent, number, '80000005');
    expect(outcome).toBe('waits');
  });

  it('also comes before oversized options', () => {
    expectError(talk({ tls: true }, BOTH_FLAGS, '49484156454f5054 00000007 00010001').sent, '07', '80000005');
  });

  it('lets a client leave without TLS', () => {
    expect(talk({ tls: true }, BOTH_FLAGS, option('02')).sent).toBe(hex(reply('02', ACK)));
  });

  it('consents once, and forgets what was agreed before', () => {
    const { sent, steps, outcome } = talk({ tls: true }, BOTH_FLAGS, option('08'), option('05'), go);
    expect(steps.filter(step => step.kind === 'secure')).toHaveLength(1);
    expectError(sent, '08', '80000005');
    expect(outcome).toMatchObject({ mode: 'simple', contexts: [] });
    expectError(talk({ tls: true }, BOTH_FLAGS, option('05', '00')).sent, '05', '80000003');
    const twice = talk({ tls: true }, BOTH_FLAGS, option('05'), option('05'));
    expectError(twice.sent.slice(40), '05', '80000003');
  });
});
