import { InvalidArgumentError } from 'commander';

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** A whole number of at least `minimum`, for commander. */
export function wholeNumber(minimum: number): (text: string) => number {
  return text => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= minimum) return value;
    throw new InvalidArgumentError(`expected a whole number of at least ${minimum}`);
  };
}

/** Seconds, fractions allowed, as milliseconds. */
export function secondsAsMs(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Math.round(Number(text) * 1000) : 0;
  if (value >= 1 && value <= 0x7fffffff) return value;
  throw new InvalidArgumentError('expected seconds, e.g. 30');
}

/** `1M`, `256k`, `1MiB` or plain bytes. */
export function sizeInBytes(text: string): number {
  const [, digits, unit] = /^(\d{1,15})([kmg]?)(?:ib)?$/i.exec(text) ?? [];
  const value = digits === undefined ? Number.NaN : Number(digits) * SIZE_UNITS[unit!.toLowerCase()]!;
  if (Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('expected a size, e.g. 1M or 65536');
}

/** `5%` as 0.05: more than nothing, at most everything. */
export function shareOf(text: string): number {
  const [, digits] = /^(\d{1,3}(?:\.\d+)?)%$/.exec(text) ?? [];
  const share = digits === undefined ? 0 : Number(digits) / 100;
  if (share > 0 && share <= 1) return share;
  throw new InvalidArgumentError('expected a share, e.g. 5%');
}
