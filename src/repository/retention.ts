import { timeBefore } from './keep-duration.js';
import type { Point } from './manifest.js';
import { baseCheckpoints } from './needed-checkpoints.js';
import { latestPoint, sortPoints } from './point-order.js';
import { type RetentionPolicy, type RetentionRule, retentionRules } from './retention-rules.js';

/** What becomes of a point. */
export interface Verdict {
  readonly point: Point;
  readonly keep: boolean;
  /** Why it is kept: names of rules (`last`, `oldest daily`, `within 30d`), `pinned`, `newest`, `base`. */
  readonly reasons: readonly string[];
}

export interface RetentionOptions {
  /** Ids of points that stay whatever the policy says. */
  readonly pinned?: ReadonlySet<string>;
  readonly now?: Date;
}

/**
 * Which points a policy keeps; copies count as any other point. The order is that of the points' sequence: a clock that
 * was set back makes no point older. Whatever the policy says, the newest point of the newest chain is kept, and where
 * that began no checkpoint, the one before it that did: the next incremental builds on it.
 * @returns oldest first.
 * @throws UsageError for a policy that keeps nothing, and for one that makes no sense.
 */
export function applyRetention(
  points: readonly Point[],
  policy: RetentionPolicy,
  { pinned = new Set(), now = new Date() }: RetentionOptions = {},
): Verdict[] {
  const newestFirst = sortPoints(points).reverse();
  const newest = latestPoint(points) ?? newestFirst[0];
  const base = baseCheckpoints(points, 'incremental')[0]?.point;
  const reference = referenceTime(newestFirst, now.getTime());
  const states = retentionRules(policy).map(rule => new RuleState(rule, reference));
  const verdicts = newestFirst.map((point, index) => {
    const reasons = states.flatMap(state => state.take(point, index, index === newestFirst.length - 1));
    if (pinned.has(point.manifest.id)) reasons.push('pinned');
    if (point === newest && reasons.length === 0) reasons.push('newest');
    if (point === base && reasons.length === 0) reasons.push('base');
    return { point, keep: reasons.length > 0, reasons };
  });
  return verdicts.reverse();
}

/**
 * The time that durations reach back from: that of the newest point, but for points from the future, which a wrong clock
 * made: they would put all others out of reach.
 */
function referenceTime(points: readonly Point[], now: number): number {
  const times = points.map(timeOf).filter(time => time <= now);
  return times.reduce((latest, time) => Math.max(latest, time), Number.NEGATIVE_INFINITY);
}

function timeOf({ manifest }: Point): number {
  return Date.parse(manifest.created);
}

/** A rule while the points go by, the newest first. */
class RuleState {
  readonly #rule: RetentionRule;
  readonly #after: number;
  #left: number;
  #period: number | undefined;

  constructor(rule: RetentionRule, reference: number) {
    this.#rule = rule;
    this.#left = rule.count;
    this.#after =
      rule.within === null || reference === Number.NEGATIVE_INFINITY
        ? Number.NEGATIVE_INFINITY
        : timeBefore(reference, rule.within);
  }

  /**
   * The reason to keep the next point, or none. A rule that has some left keeps the oldest point as well: the history
   * is to reach back as far as it can.
   */
  take(point: Point, index: number, isOldest: boolean): string[] {
    const time = timeOf(point);
    if (this.#left === 0 || time <= this.#after) return [];
    const period = this.#rule.period(time, index);
    const isNew = period !== this.#period;
    if (!isNew && !isOldest) return [];
    this.#period = period;
    this.#left--;
    return [isNew ? this.#rule.name : `oldest ${this.#rule.name}`];
  }
}
