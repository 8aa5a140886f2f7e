const TIME =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,3})\d*)?)?)?(Z|[+-]\d{2}:\d{2})?$/;

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * The last millisecond of the time that ISO 8601 text names: of the day for `2026-11-22`, of the minute for
 * `2026-11-22T17:30`. `null` when it is no such text, or no such day. Without a zone it is UTC.
 */
export function endOfNamedTime(text: string): number | null {
  const match = TIME.exec(text);
  if (match === null) return null;
  const [, day, minute, second, fraction, zone = 'Z'] = match;
  const start = Date.parse(
    `${day}T${minute ?? '00:00'}:${second ?? '00'}.${(fraction ?? '').padEnd(3, '0')}${zone}`,
  );
  if (Number.isNaN(start) || !isRealDay(day!)) return null;
  const unitMs =
    minute === undefined ? DAY_MS : second === undefined ? 60_000 : fraction === undefined ? 1000 : 1;
  return start + unitMs - 1;
}

/** `Date.parse` takes the 31st of any month and counts on. */
function isRealDay(day: string): boolean {
  const parsed = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(parsed.getTime()) && parsed.toISOString().startsWith(day);
}
