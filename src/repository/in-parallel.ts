import pLimit from 'p-limit';

const AT_ONCE = 8;

/**
 * Results in the order of `items`; a few at once: storage that is far away answers late. When it rejects, nothing is under
 * way any more, and the error is that of the first item that has one.
 */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const limit = pLimit(AT_ONCE);
  const settled = await Promise.allSettled(items.map(item => limit(() => work(item))));
  return settled.map(result => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}
