import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { formatMachine } from '#nbdelta/cli/display/point-list.js';
import { createStyle } from '#nbdelta/cli/display/style.js';
import { Output } from '#nbdelta/cli/output.js';
import { describeError, formatTrace, printError } from '#nbdelta/cli/report-error.js';
import { AbortedError, NbdeltaError, UsageError } from '#nbdelta/errors.js';
import { readImports } from '../../support/room-rules.js';
import { chainPoint, failedDisk, sampleDisk, sampleId } from '../repository/sample-manifest.js';

function printed(error: unknown): string {
  const stream = new PassThrough();
  printError(describeError(error), new Output(stream));
  return String(stream.read());
}

describe('an error', () => {
  it('is one line, with its hint on another', () => {
    const error = new UsageError('no\nsuch\u001b[31m thing', { hint: 'look\nagain' });
    expect(printed(error)).toBe('nbdelta: no such?[31m thing\n  hint: look again\n');
    expect(printed(new NbdeltaError('PARTIAL', 'x'))).toBe('nbdelta: x\n');
  });

  it('that nobody knows is a defect, and says so', () => {
    expect(printed(new TypeError('x is not a function'))).toMatch(
      /^nbdelta: x is not a function\n {2}hint: this is a defect in nbdelta, please report it/,
    );
    expect(describeError('thrown text').error).toMatchObject({ code: 'INTERNAL', exitCode: 1 });
    expect(describeError(undefined).error).toMatchObject({ code: 'INTERNAL', message: 'undefined' });
  });

  it('has the exit code of the signal that stopped it', () => {
    expect(describeError(new AbortedError('backup')).error.exitCode).toBe(130);
    expect(describeError(new AbortedError('backup'), 143).error.exitCode).toBe(143);
  });

  it('shows its causes to whoever debugs', () => {
    const trace = formatTrace(new NbdeltaError('PARTIAL', 'outer', { cause: new Error('inner') }));
    expect(trace).toMatch(/outer\n[\s\S]*caused by: Error: inner\n +at /);
  });
});

describe('the list of points', () => {
  const full = chainPoint(1, null);
  const first = chainPoint(2, full);
  const disks = [sampleDisk('vda', 'full'), failedDisk('vdb', 'full')];
  const second = chainPoint(3, null, { change: { disks, partial: true } });
  const differential = chainPoint(4, full, { level: 'differential' });
  const listing = {
    machine: 'web1',
    id: 'ab\u0007cd',
    points: [full, first, second, differential].map(point => point.manifest),
    verdicts: {},
    pins: [
      { point: sampleId(1), created: full.manifest.created, note: 'kept\u001b for the audit', error: null },
    ],
    unreadable: [{ id: sampleId(5), code: 'DATA_DAMAGED', message: 'not\u001b[2J JSON' }],
    incomplete: [sampleId(6)],
  };
  const view = { style: createStyle(false), unicode: true, columns: 120, isTerminal: false };
  const lines = formatMachine(listing, view, Date.parse(full.manifest.created) + 7_200_000);

  it('shows which point builds on which', () => {
    expect(lines[0]).toBe('web1 (id ab?cd): 4 points');
    expect(lines[2]).toMatch(new RegExp(`^  ${sampleId(1)} +full .* 2 h +vda `));
    expect(lines[3]).toMatch(new RegExp(`^  └ ${sampleId(2)} +incremental`));
    expect(lines[3], 'builds on the point just above').not.toContain(sampleId(1));
    expect(lines[5]).toMatch(new RegExp(`^  └ ${sampleId(4)} +differential .*${sampleId(1)}$`));
  });

  it('points out what is partial, unreadable or incomplete', () => {
    expect(lines[4]).toMatch(/partial: vdb failed$/);
    expect(lines[6]).toBe(`  ! ${sampleId(5)}  cannot be read: not?[2J JSON`);
    expect(lines[7]).toMatch(new RegExp(`^  \\? ${sampleId(6)} +incomplete`));
  });
});

describe('an output', () => {
  it('drops what comes after its reader went away', async () => {
    const stream = new PassThrough();
    const output = new Output(stream);
    stream.destroy(Object.assign(new Error('gone'), { code: 'EPIPE' }));
    await new Promise(resolve => setImmediate(resolve));
    output.line('x');
    await output.writeAll(['y'.repeat(100_000)]);
    expect(output.closed).toBe(true);
    await expect(output.flush()).resolves.toBeUndefined();
  });

  it('waits for a slow reader', async () => {
    const stream = new PassThrough({ highWaterMark: 1000 });
    let made = 0;
    const pieces = function* () {
      for (; made < 100; made++) yield 'z'.repeat(10_000);
    };
    const writing = new Output(stream).writeAll(pieces());
    await new Promise(resolve => setImmediate(resolve));
    expect(made).toBeLessThan(20);
    let received = 0;
    for await (const chunk of stream.on('data', () => undefined).iterator({ destroyOnReturn: false })) {
      received += (chunk as Buffer).length;
      if (received === 1_000_000) break;
    }
    await writing;
    expect(received).toBe(1_000_000);
  });
});

describe('the start of the command line', () => {
  it('loads no operation: help and version must be quick', () => {
    const root = new URL('../../../dist/', import.meta.url);
    const seen = new Set<string>();
    const visit = (url: URL): void => {
      if (seen.has(url.href)) return;
      seen.add(url.href);
      const text = readFileSync(url, 'utf8');
      const lazy = new Set([...text.matchAll(/import\('([^']+)'\)/g)].map(([, name]) => name));
      for (const { specifier } of readImports(text)) {
        if (specifier.startsWith('.') && specifier.endsWith('.js') && !lazy.has(specifier)) {
          visit(new URL(specifier, url));
        }
      }
    };
    visit(new URL('cli/main.js', root));
    const rooms = new Set([...seen].map(href => href.slice(root.href.length).split('/')[0]));
    expect([...rooms].sort()).toEqual(['cli', 'errors.js']);
  });
});
