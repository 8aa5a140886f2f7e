import { RepositoryError, UsageError } from '../errors.js';
import { checkMachineName } from './machine-name.js';
import type { Point } from './manifest.js';
import { pointTimeMs } from './point-id.js';
import type { PointList } from './point-list.js';
import { latestPoint, mayBeYounger, sortPoints, type UnreadablePoint } from './point-order.js';
import { endOfNamedTime } from './point-time.js';

const MAX_CANDIDATES = 5;

/** `MACHINE[@POINT]`, taken apart; `point` is still text. */
export interface PointSpec {
  readonly machine: string;
  /** `latest` when the text named none. */
  readonly point: string;
}

/** Takes `MACHINE[@POINT]` apart. @throws UsageError. */
export function parsePointSpec(text: string): PointSpec {
  const at = text.indexOf('@');
  const machine = at === -1 ? text : text.slice(0, at);
  const point = at === -1 ? 'latest' : text.slice(at + 1);
  checkMachineName(machine);
  if (point !== '') return { machine, point };
  throw new UsageError(`no point after the "@" of ${JSON.stringify(text)}`, {
    hint: 'Write MACHINE@latest, MACHINE@ID, or MACHINE@TIME.',
  });
}

/**
 * The point that `text` names: `latest`, an id, the unique beginning of one, or a time (then the newest point
 * that was taken at or before it; without a zone it is UTC, as in the ids; a day or a minute counts in full).
 * Going back past a point that cannot be read must be somebody's decision, never a guess of ours.
 * @throws RepositoryError POINT_UNKNOWN, POINT_AMBIGUOUS; the point's own error when it cannot be read.
 */
export function resolvePoint({ points, unreadable }: PointList, machine: string, text: string): Point {
  const sorted = sortPoints(points);
  const exact = findById([...sorted, ...unreadable], text);
  if (exact !== undefined) return readable(exact);
  const end = text === 'latest' ? Number.POSITIVE_INFINITY : endOfNamedTime(text);
  const found = end === null ? undefined : findUntil({ points, unreadable }, end, text === 'latest');
  if (found !== undefined) return found;
  const fitting = [...sorted, ...unreadable].filter(point => text !== '' && idOf(point).startsWith(text));
  if (fitting.length === 1) return readable(fitting[0]!);
  throw fitting.length === 0
    ? unknownPoint(sorted, machine, text)
    : ambiguousPoint(fitting.map(idOf), machine, text);
}

type AnyPoint = Point | UnreadablePoint;

function idOf(point: AnyPoint): string {
  return 'error' in point ? point.id : point.manifest.id;
}

/** A merged point answers to the id that it stands for, too. */
function findById(points: readonly AnyPoint[], id: string): AnyPoint | undefined {
  return points.find(point => idOf(point) === id) ?? points.findLast(point => standsFor(point, id));
}

function standsFor(point: AnyPoint, id: string): boolean {
  return !('error' in point) && point.manifest.standsFor.some(entry => entry.id === id);
}

function readable(point: AnyPoint): Point {
  if ('error' in point) throw point.error;
  return point;
}

/** @throws the error of an unreadable point that may be the wanted one. */
function findUntil({ points, unreadable }: PointList, end: number, isLatest: boolean): Point | undefined {
  const found = isLatest
    ? latestPoint(points)
    : sortPoints(points).findLast(point => Date.parse(point.manifest.created) <= end);
  const younger = unreadable.find(
    point => pointTimeMs(point.id) <= end && (found === undefined || mayBeYounger(point, found, points)),
  );
  if (younger !== undefined) throw younger.error;
  return found;
}

function ambiguousPoint(fitting: readonly string[], machine: string, text: string): RepositoryError {
  const ids = fitting.slice(0, MAX_CANDIDATES);
  const more = fitting.length > ids.length ? `, and ${fitting.length - ids.length} more` : '';
  return new RepositoryError(
    'POINT_AMBIGUOUS',
    `${fitting.length} points of machine ${machine} begin with ${text}: ${ids.join(', ')}${more}`,
    { hint: 'Write more of the id.', fields: { machine, points: ids } },
  );
}

/** What can name a point at all: `latest`, the beginning of an id, or a time. */
const LOOKS_LIKE_A_POINT = /^(latest|\d+[-\dTZa-f:. +]*)$/;

function unknownHint(text: string, ids: readonly string[]): string {
  if (ids.length === 0) return 'It has no points yet.';
  const nearest = `The nearest are: ${ids.join(', ')}.`;
  if (LOOKS_LIKE_A_POINT.test(text)) return nearest;
  return `Write latest, an id or its beginning, or a UTC time such as 2026-11-22T17:30. ${nearest}`;
}

function unknownPoint(sorted: readonly Point[], machine: string, text: string): RepositoryError {
  const ids = nearestIds(sorted, text);
  return new RepositoryError('POINT_UNKNOWN', `machine ${machine} has no point ${JSON.stringify(text)}`, {
    hint: mergedHint(sorted, text) ?? unknownHint(text, ids),
    fields: { machine, points: ids },
  });
}

function mergedHint(points: readonly Point[], text: string): string | undefined {
  const merged = points.findLast(({ manifest }) => manifest.replaces.includes(text));
  return merged && `It was merged into ${merged.manifest.id}, which has what came after it as well.`;
}

/** Ids that share the longest beginning with `text`, written as an id; among equals the newest. */
function nearestIds(sorted: readonly Point[], text: string): string[] {
  const wanted = endOfNamedTime(text) === null ? text : text.replace(/[-:]/g, '');
  return sorted
    .map(point => point.manifest.id)
    .reverse()
    .sort((a, b) => sharedLength(b, wanted) - sharedLength(a, wanted))
    .slice(0, MAX_CANDIDATES);
}

function sharedLength(id: string, text: string): number {
  let length = 0;
  while (length < text.length && id[length] === text[length]) length++;
  return length;
}
