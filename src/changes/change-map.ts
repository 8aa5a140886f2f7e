import { AbortedError, NbdNegotiationError } from '../errors.js';
import { ExtentKind, type ExtentList } from '../extents/extent-list.js';
import {
  CONTEXT_BASE_ALLOCATION,
  CONTEXT_QEMU_DIRTY_BITMAP,
  NBD_STATE_DIRTY,
  NBD_STATE_ZERO,
} from '../nbd/protocol/constants.js';
import { ChangeMapBuilder } from './change-map-builder.js';
import { ContextCursor } from './context-cursor.js';
import type { StatusSource } from './status-source.js';

export interface ChangeMapOptions {
  /** Dirty bitmap's name (without `qemu:dirty-bitmap:`), or undefined for a full. */
  readonly bitmap?: string | undefined;
  /** Everything from here on counts as changed whatever the bitmap says: a disk that grew. Bytes. */
  readonly changedFrom?: number | undefined;
  /** What the server reads at least; extents are widened to it, see {@link ChangeMapBuilder}. Bytes, default 1. */
  readonly block?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told after each reply up to where the disk is mapped. Bytes. */
  readonly onProgress?: ((mapped: number) => void) | undefined;
}

/** Name of the meta context of a QEMU dirty bitmap. */
export function bitmapContext(bitmap: string): string {
  return `${CONTEXT_QEMU_DIRTY_BITMAP}${bitmap}`;
}

/**
 * What has to be kept of an export:
 *
 *   base:allocation   data │ zero │ data │ zero
 *   dirty bitmap      dirty│ dirty│ clean│ clean
 *   incremental       data │ zero │  —   │  —        (— is unchanged: no extent in the list)
 *   full              data │ zero │ data │ zero
 *
 * Dirty and zero is a change: it is stored as zero. Only NBD_STATE_ZERO means zero; a hole without it has
 * undefined content and is read. A server without base:allocation has everything read.
 * @throws NbdNegotiationError (NBD_CONTEXT_MISSING) when the bitmap was not granted: never "nothing is dirty".
 */
export async function readChangeMap(
  source: StatusSource,
  options: ChangeMapOptions = {},
): Promise<ExtentList> {
  const result = new ChangeMapBuilder({ size: source.size, block: options.block });
  if (source.size === 0) return result.finish();
  const cursors = openCursors(source, options.bitmap);
  if (cursors.all.length === 0) {
    result.append(0, source.size, ExtentKind.data);
    return result.finish();
  }
  while (cursors.all[0]!.position < source.size) {
    if (options.signal?.aborted) throw new AbortedError('reading the change map', options.signal.reason);
    await refill(source, cursors.all);
    combine(cursors, result, options.changedFrom ?? Number.POSITIVE_INFINITY);
    options.onProgress?.(cursors.all[0]!.position);
  }
  return result.finish();
}

interface Cursors {
  readonly allocation: ContextCursor | undefined;
  readonly dirty: ContextCursor | undefined;
  readonly all: readonly ContextCursor[];
}

function openCursors(source: StatusSource, bitmap: string | undefined): Cursors {
  const open = (name: string) =>
    source.contexts.includes(name) ? new ContextCursor(name, source.size) : undefined;
  const allocation = open(CONTEXT_BASE_ALLOCATION);
  const dirty = bitmap === undefined ? undefined : open(bitmapContext(bitmap));
  if (bitmap !== undefined && !dirty) throw bitmapMissing(bitmap);
  return { allocation, dirty, all: [dirty, allocation].filter(cursor => cursor !== undefined) };
}

function bitmapMissing(bitmap: string): NbdNegotiationError {
  return new NbdNegotiationError(
    'NBD_CONTEXT_MISSING',
    `the server does not offer dirty bitmap "${bitmap}"`,
    {
      hint: 'see which bitmaps the export has with: nbdelta info URI',
      fields: { bitmap },
    },
  );
}

/** Asks from the lowest unknown byte on, until every context knows its next byte. */
async function refill(source: StatusSource, cursors: readonly ContextCursor[]): Promise<void> {
  while (true) {
    const lowest = Math.min(...cursors.filter(cursor => !cursor.known).map(cursor => cursor.position));
    if (lowest === Number.POSITIVE_INFINITY) return;
    const runs = await source.blockStatus(lowest, source.size - lowest);
    for (const cursor of cursors) cursor.accept(runs.get(cursor.name)!);
  }
}

/** Combines what both contexts know, up to where the first of them ends. */
function combine({ allocation, dirty, all }: Cursors, result: ChangeMapBuilder, changedFrom: number): void {
  let position = all[0]!.position;
  while (all.every(cursor => cursor.known)) {
    let end = Math.min(...all.map(cursor => cursor.extentEnd));
    if (position < changedFrom && changedFrom < end) end = changedFrom;
    const isDirty = !dirty || position >= changedFrom || (dirty.status & NBD_STATE_DIRTY) !== 0;
    if (isDirty) result.append(position, end - position, kindOf(allocation?.status));
    for (const cursor of all) cursor.advance(end);
    position = end;
  }
}

function kindOf(allocation: number | undefined): ExtentKind {
  return allocation !== undefined && (allocation & NBD_STATE_ZERO) !== 0 ? ExtentKind.zero : ExtentKind.data;
}
