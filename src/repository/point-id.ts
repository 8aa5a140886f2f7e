import { randomBytes } from 'node:crypto';

const POINT_ID = /^\d{8}T\d{6}Z-[0-9a-f]{8}$/;

/** Whether `text` has the form of a point's id: `20261122T173000Z-1a2b3c4d`. */
export function isPointId(text: string): boolean {
  return POINT_ID.test(text);
}

/**
 * A new point's id: when (UTC, whole seconds) and 8 random hex digits. It is the point's folder and says
 * nothing that could change. The time is for people; the order of points is their `sequence`.
 */
export function newPointId(
  now: Date = new Date(),
  random: (size: number) => Uint8Array = randomBytes,
): string {
  const time = now
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:]/g, '');
  return `${time}-${Buffer.from(random(4)).toString('hex')}`;
}

/** The part of an id that says when, to the second; it compares as text. The rest is random and says nothing. */
export function pointIdTime(id: string): string {
  return id.slice(0, 16);
}

/** When a point was begun, by its id: milliseconds since 1970. */
export function pointTimeMs(id: string): number {
  const [, year, month, day, hour, minute, second] = /^(....)(..)(..)T(..)(..)(..)Z/.exec(id) ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}
