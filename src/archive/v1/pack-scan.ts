import { DamagedError, NbdeltaError } from '../../errors.js';
import { PACK_MAX_EXTENTS, PACK_MAX_FRAMES } from './format-limits.js';
import {
  decodePackTable,
  PACK_MAGIC,
  type PackTable,
  packTableLength,
  SKIPPABLE_HEADER,
} from './pack-table.js';
import type { VolumeReader } from './volume-files.js';

const READ_SIZE = 4 << 20;
/** What is not a table of ours would otherwise make us read much. Writers stay far below. */
const LONGEST_TABLE = packTableLength(PACK_MAX_FRAMES, 2 * PACK_MAX_EXTENTS);

/** A pack's table, found in a file. */
export interface FoundTable {
  /** Where the table starts: the pack's frames end there. */
  readonly at: number;
  readonly table: PackTable;
}

/**
 * Finds the tables of all packs in a file, whatever else is damaged or missing: neither tar headers nor the index are looked at. A
 * table counts only when its digest is right.
 */
export async function* findPackTables(reader: VolumeReader): AsyncGenerator<FoundTable, void, undefined> {
  const magic = Buffer.from(PACK_MAGIC, 'latin1');
  const window = Buffer.alloc(READ_SIZE + magic.length);
  for (let start = 0; start < reader.size; start += READ_SIZE) {
    const bytes = window.subarray(0, Math.min(window.length, reader.size - start));
    await reader.read(start, bytes);
    for (let found = bytes.indexOf(magic); found >= 0; found = bytes.indexOf(magic, found + 1)) {
      if (found >= READ_SIZE) break;
      const at = start + found - SKIPPABLE_HEADER;
      const table = at < 0 ? null : await readTable(reader, at);
      if (table !== null) yield { at, table };
    }
  }
}

/** The table at `at`; `null` when what is there only looks like one. */
async function readTable(reader: VolumeReader, at: number): Promise<PackTable | null> {
  if (at + SKIPPABLE_HEADER > reader.size) return null;
  const head = Buffer.alloc(SKIPPABLE_HEADER);
  await reader.read(at, head);
  const length = head.readUInt32LE(4) + SKIPPABLE_HEADER;
  if (length > LONGEST_TABLE || at + length > reader.size) return null;
  const bytes = Buffer.alloc(length);
  await reader.read(at, bytes);
  try {
    return decodePackTable(bytes);
  } catch (error) {
    if (error instanceof DamagedError) return null;
    if (error instanceof NbdeltaError && error.code === 'FORMAT_UNSUPPORTED') return null;
    throw error;
  }
}
