import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EXIT_CODES, EXIT_CODES_HELP } from '#nbdelta/cli/exit-codes.js';
import { ERROR_CODES, type ErrorCode } from '#nbdelta/errors.js';

const DOCUMENT = readFileSync(new URL('../../../docs/exit-codes.md', import.meta.url), 'utf8');
const ROWS = [...DOCUMENT.matchAll(/^\| (\d+) \| `([A-Z_]+)` \|/gm)].map(
  ([, exit, code]) => `${code} ${exit}`,
);

describe('exit codes', () => {
  it.each(Object.keys(ERROR_CODES) as ErrorCode[])('%s has one, and the documentation has it', code => {
    expect(EXIT_CODES[code]).toBeGreaterThan(0);
    expect(EXIT_CODES[code]).toBeLessThan(256);
    expect(ROWS).toContain(`${code} ${EXIT_CODES[code]}`);
  });

  it('are documented only where they exist', () => {
    const known = Object.entries(EXIT_CODES).map(([code, exit]) => `${code} ${exit}`);
    expect(ROWS.filter(row => !known.includes(row))).toEqual(['ABORTED 143']);
  });

  it('keep usage, areas and interruptions apart', () => {
    expect(EXIT_CODES).toMatchObject({ INTERNAL: 1, USAGE: 2, DATA_DAMAGED: 24, PARTIAL: 40, ABORTED: 130 });
    const chain = Object.entries(EXIT_CODES).filter(([code]) => code.startsWith('CHAIN_'));
    expect(new Set(chain.map(([, exit]) => exit)).size).toBe(chain.length);
  });

  it('fit on a terminal in the help', () => {
    for (const line of EXIT_CODES_HELP.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });
});
