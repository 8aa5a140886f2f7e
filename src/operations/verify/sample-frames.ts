const WARM_UP = 32;

/** Frames of an archive, all of them. */
export function* everyFrame(count: number): Generator<number> {
  for (let frame = 0; frame < count; frame++) yield frame;
}

/**
 * A random share of an archive's frames, at least one, ascending. The same seed gives the same frames of the same archive.
 * @param share of the frames, above 0 and at most 1.
 */
export function* sampledFrames(
  count: number,
  share: number,
  seed: number,
  archiveId: string,
): Generator<number> {
  const random = pseudoRandom(seed ^ Number.parseInt(archiveId.slice(0, 8), 16));
  const certain = Math.floor(random() * count);
  for (let frame = 0; frame < count; frame++) {
    const isChosen = random() < share;
    if (isChosen || frame === certain) yield frame;
  }
}

/** Numbers of [0, 1), evenly spread: xorshift32 (Marsaglia 2003), which is enough to choose frames. */
function pseudoRandom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  // The first numbers of seeds that are alike are alike.
  for (let skipped = 0; skipped < WARM_UP; skipped++) next();
  return next;
}
