import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { compressSegment } from '../../codec/segment.js';
import type { IndexPlace } from './archive-trailer.js';
import { type IndexContent, indexSegments } from './index-codec.js';
import type { VolumeSeries } from './volume-series.js';

/** Name of the index's member, in the last volume only. */
export const INDEX_MEMBER = 'index.zst';

/**
 * Compresses and writes the index. It is held compressed as a whole: a tar member says its size first.
 * @returns where it is, and its digest.
 */
export async function writeIndex(
  volumes: VolumeSeries,
  content: IndexContent,
): Promise<IndexPlace & { volume: number }> {
  const stored: Uint8Array[] = [];
  const sha256 = createHash('sha256');
  let [rawLength, storedLength] = [0, 0];
  for (const segment of indexSegments(content)) {
    const compressed = compressSegment(segment);
    stored.push(compressed);
    sha256.update(compressed);
    rawLength += segment.length;
    storedLength += compressed.length;
    await setImmediate(); // A large index takes a second: sockets and timers get their turn.
  }
  const volume = await volumes.volumeFor(storedLength);
  const offset = volume.nextContentOffset;
  await volume.writeMember(INDEX_MEMBER, stored, storedLength);
  return { volume: volume.number, offset, storedLength, rawLength, sha256: sha256.digest('hex') };
}
