/**
 * Works on parts, `limit` of them at once. Starts no more after a failure, waits until nothing is under way (memory
 * of a failed part must not be in use any more), then fails with the first error.
 */
export async function runParts<Part>(
  parts: Iterable<Part>,
  limit: number,
  work: (part: Part) => Promise<void>,
): Promise<void> {
  const queue = parts[Symbol.iterator]();
  let failure: { readonly error: unknown } | undefined;
  const worker = async () => {
    for (let next = queue.next(); !next.done && !failure; next = queue.next()) {
      await work(next.value).catch(error => {
        failure ??= { error };
      });
    }
  };
  const workers: Promise<void>[] = [];
  for (let count = 0; count < limit; count++) workers.push(worker());
  await Promise.all(workers);
  if (failure) throw failure.error;
}
