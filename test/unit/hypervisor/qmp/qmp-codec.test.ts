import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeQmpMessage,
  encodeQmpCommand,
  LineSplitter,
  NotQmpError,
} from '#nbdelta/hypervisor/qmp/qmp-codec.js';

describe('LineSplitter', () => {
  it('gives the same lines wherever the pieces end', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 40 }).map(line => line.replace(/\s/g, '_'));
    fc.assert(
      fc.property(fc.array(text, { maxLength: 6 }), fc.array(fc.nat(400)), (lines, cuts) => {
        const bytes = Buffer.from(lines.map(line => `${line}\r\n`).join(''));
        const splitter = new LineSplitter(1 << 16);
        const seen: string[] = [];
        const places = [
          0,
          ...cuts.map(cut => Math.min(cut, bytes.length)).sort((a, b) => a - b),
          bytes.length,
        ];
        for (const [index, from] of places.entries()) {
          seen.push(...splitter.push(bytes.subarray(from, places[index + 1] ?? bytes.length)));
        }
        expect(seen).toEqual(lines.filter(line => line !== ''));
      }),
    );
  });

  it('is given every byte on its own', () => {
    const bytes = Buffer.from('{"return": "ü€𝄞", "id": "1"}\r\n{"event": "STOP"}\r\n');
    const splitter = new LineSplitter(100);
    const seen = [...bytes].flatMap(byte => [...splitter.push(Buffer.of(byte))]);
    expect(seen).toEqual(['{"return": "ü€𝄞", "id": "1"}', '{"event": "STOP"}']);
  });

  it('refuses a line that is longer than allowed, and not one that is as long', () => {
    const splitter = new LineSplitter(5);
    expect([...splitter.push(Buffer.from('12345\n1234'))]).toEqual(['12345']);
    expect(() => [...splitter.push(Buffer.from('56'))]).toThrow(NotQmpError);
  });
});

describe('decodeQmpMessage', () => {
  it.each([
    [
      '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}',
      { kind: 'greeting', version: '7.2.22' },
    ],
    ['{"return": {}, "id": "a-1"}', { kind: 'return', id: 'a-1', value: {} }],
    ['{"return": null, "id": "a-1"}', { kind: 'return', id: 'a-1', value: null }],
    ['{"return": [1]}', { kind: 'return', id: undefined, value: [1] }],
    ['{"return": 1, "id": {"any": "thing"}}', { kind: 'return', id: undefined, value: 1 }],
    [
      '{"id": "a-1", "error": {"class": "GenericError", "desc": "no"}}',
      { kind: 'error', id: 'a-1', errorClass: 'GenericError', text: 'no' },
    ],
    [
      '{"error": {"class": "GenericError", "desc": "JSON parse error"}}',
      { kind: 'error', id: undefined, errorClass: 'GenericError', text: 'JSON parse error' },
    ],
    [
      '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "JOB_STATUS_CHANGE", "data": {"id": "j"}}',
      { kind: 'event', event: { name: 'JOB_STATUS_CHANGE', data: { id: 'j' } } },
    ],
    ['{"event": "STOP"}', { kind: 'event', event: { name: 'STOP', data: {} } }],
  ])('%s', (line, message) => {
    expect(decodeQmpMessage(line)).toEqual(message);
  });

  it.each(['', 'QEMU 7.2 monitor', '{"id": "a"}', '[]', '7', '{"QMP": {}}', '{"error": "no"}'])(
    'calls %j none, and shows it',
    line => {
      expect(() => decodeQmpMessage(line)).toThrow(NotQmpError);
      expect(() => decodeQmpMessage(line)).toThrow(JSON.stringify(line));
    },
  );

  it('is what an encoded command comes back as', () => {
    const line = encodeQmpCommand('x-1', 'job-cancel', { id: 'ü\n"' });
    expect(line.endsWith('}\n')).toBe(true);
    expect(line.slice(0, -1)).not.toContain('\n');
    expect(JSON.parse(line)).toEqual({ execute: 'job-cancel', arguments: { id: 'ü\n"' }, id: 'x-1' });
  });
});
