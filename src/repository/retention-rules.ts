import { UsageError } from '../errors.js';
import { isNoTime, type KeepDuration, parseKeepDuration } from './keep-duration.js';

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;

/** Days from Monday, 29 December 1969, to 1 January 1970. */
const DAYS_SINCE_MONDAY = 3;

/** Numbers that two times share when they lie in the same period of UTC; `index` counts the points from the newest. */
const PERIODS = {
  last: (_: number, index: number) => index,
  hourly: (timeMs: number) => Math.floor(timeMs / HOUR_MS),
  daily: (timeMs: number) => Math.floor(timeMs / DAY_MS),
  weekly: (timeMs: number) => Math.floor((Math.floor(timeMs / DAY_MS) + DAYS_SINCE_MONDAY) / 7),
  monthly: (timeMs: number) => monthOf(new Date(timeMs)),
  yearly: (timeMs: number) => new Date(timeMs).getUTCFullYear(),
} as const;

type Period = keyof typeof PERIODS;

function monthOf(date: Date): number {
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

/** Keeps everything that the rule can count. */
export const UNLIMITED = -1;

/**
 * Which points to keep, in the words of restic's `forget`. A point stays when any rule wants it.
 * - Counts: of the last so many hours, days, ISO weeks (from Monday), months or years of UTC that have points, the newest
 *   point each; `keepLast`: the last so many points. {@link UNLIMITED}: all of them. 0: as if it were not given.
 * - Durations such as `2y5m7d3h`, back from the newest point (not from now): all points in it, or the newest of each
 *   hour, day and so on in it.
 */
export interface RetentionPolicy {
  readonly keepLast?: number | undefined;
  readonly keepHourly?: number | undefined;
  readonly keepDaily?: number | undefined;
  readonly keepWeekly?: number | undefined;
  readonly keepMonthly?: number | undefined;
  readonly keepYearly?: number | undefined;
  readonly keepWithin?: string | undefined;
  readonly keepWithinHourly?: string | undefined;
  readonly keepWithinDaily?: string | undefined;
  readonly keepWithinWeekly?: string | undefined;
  readonly keepWithinMonthly?: string | undefined;
  readonly keepWithinYearly?: string | undefined;
}

/** One rule of a policy, ready to be asked. */
export interface RetentionRule {
  /** What a point is kept as: `daily`, `within 30d`, `daily within 30d`. */
  readonly name: string;
  readonly period: (timeMs: number, index: number) => number;
  /** How many it keeps. */
  readonly count: number;
  /** How far it reaches back from the newest point; `null`: without end. */
  readonly within: KeepDuration | null;
}

const COUNTS = {
  keepLast: 'last',
  keepHourly: 'hourly',
  keepDaily: 'daily',
  keepWeekly: 'weekly',
  keepMonthly: 'monthly',
  keepYearly: 'yearly',
} as const satisfies Partial<Record<keyof RetentionPolicy, Period>>;

const DURATIONS = {
  keepWithin: 'last',
  keepWithinHourly: 'hourly',
  keepWithinDaily: 'daily',
  keepWithinWeekly: 'weekly',
  keepWithinMonthly: 'monthly',
  keepWithinYearly: 'yearly',
} as const satisfies Partial<Record<keyof RetentionPolicy, Period>>;

/** The rules of a policy. @throws UsageError for one that keeps nothing, and for what is no count or no duration. */
export function retentionRules(policy: RetentionPolicy): RetentionRule[] {
  const counts = keysOf(COUNTS).flatMap(key => countRule(key, policy[key] ?? 0));
  const durations = keysOf(DURATIONS).flatMap(key => durationRule(key, policy[key]));
  const rules = [...counts, ...durations];
  if (rules.length > 0) return rules;
  throw new UsageError('no policy says what to keep, so nothing is removed', {
    hint: 'Say at least one, such as --keep-last 7 or --keep-within 30d.',
  });
}

function keysOf<Table extends object>(table: Table): (keyof Table)[] {
  return Object.keys(table) as (keyof Table)[];
}

function countRule(key: keyof typeof COUNTS, count: number): RetentionRule[] {
  if (!Number.isSafeInteger(count) || count < UNLIMITED) {
    throw new UsageError(`${optionOf(key)} is ${count}, expected a whole number, or ${UNLIMITED} for all`);
  }
  if (count === 0) return [];
  const name = COUNTS[key];
  const limit = count === UNLIMITED ? Number.POSITIVE_INFINITY : count;
  return [{ name, period: PERIODS[name], count: limit, within: null }];
}

function durationRule(key: keyof typeof DURATIONS, text: string | undefined): RetentionRule[] {
  const within = text === undefined ? null : parseKeepDuration(text, optionOf(key));
  if (within === null || isNoTime(within)) return [];
  const period = DURATIONS[key];
  const name = period === 'last' ? `within ${text}` : `${period} within ${text}`;
  return [{ name, period: PERIODS[period], count: Number.POSITIVE_INFINITY, within }];
}

/** `keep-within-daily`: as the command line calls it. */
function optionOf(key: keyof RetentionPolicy): string {
  return key.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
}
