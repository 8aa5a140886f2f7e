import { UsageError } from '../errors.js';

/** A span of calendar time: `2y5m7d3h`. */
export interface KeepDuration {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  readonly hours: number;
}

const UNITS = { y: 'years', m: 'months', d: 'days', h: 'hours' } as const;
const DURATION = /^(?:\d{1,6}[ymdh])+$/;
const HOUR_MS = 60 * 60 * 1000;

/**
 * Reads years, months, days and hours, in any order, each at most once. There are no weeks and no minutes: `m` are months.
 * @param name how the message calls it.
 * @throws UsageError.
 */
export function parseKeepDuration(text: string, name = 'the duration'): KeepDuration {
  const duration = { years: 0, months: 0, days: 0, hours: 0 };
  const parts = DURATION.test(text) ? [...text.matchAll(/(\d+)([ymdh])/g)] : [];
  const units = parts.map(part => part[2] as keyof typeof UNITS);
  if (parts.length === 0 || new Set(units).size < units.length) throw noDuration(text, name);
  for (const [index, unit] of units.entries()) duration[UNITS[unit]] = Number(parts[index]![1]);
  return duration;
}

function noDuration(text: string, name: string): UsageError {
  return new UsageError(`${name} is ${JSON.stringify(text.slice(0, 64))}, which is no duration`, {
    hint: 'Write years, months, days and hours, such as 2y5m7d3h or 30d; a week is 7d.',
  });
}

/** Whether the duration is empty, such as `0d`. */
export function isNoTime({ years, months, days, hours }: KeepDuration): boolean {
  return years + months + days + hours === 0;
}

/**
 * The time that lies `duration` before `timeMs`, both milliseconds since 1970, by the calendar of UTC. A day that a month
 * does not have counts on into the next one: a month before 31 March is 3 March, or 2 March in a leap year.
 */
export function timeBefore(timeMs: number, { years, months, days, hours }: KeepDuration): number {
  const date = new Date(timeMs);
  date.setUTCFullYear(date.getUTCFullYear() - years, date.getUTCMonth() - months, date.getUTCDate() - days);
  const before = date.getTime() - hours * HOUR_MS;
  // Further back than dates go is before everything.
  return Number.isNaN(before) ? Number.NEGATIVE_INFINITY : before;
}
