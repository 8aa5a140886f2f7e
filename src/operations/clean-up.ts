import { toNbdeltaError } from '../errors.js';

/**
 * Cleans up after `error`, and gives back the error to throw: always the original one. A failure of the
 * clean-up becomes its cause, unless it has one: it must not hide what went wrong first.
 */
export async function withCleanUp(error: unknown, cleanUp: () => Promise<void>): Promise<Error> {
  const { first, second } = unwrapSuppressed(error);
  const original = first instanceof Error ? first : toNbdeltaError(first);
  if (second !== undefined) original.cause ??= second;
  try {
    await cleanUp();
  } catch (failure) {
    original.cause ??= failure;
  }
  return original;
}

/** What `await using` makes of an error in a block (`suppressed`) and another one while disposing (`error`). */
function unwrapSuppressed(error: unknown): { readonly first: unknown; readonly second?: unknown } {
  if (!(error instanceof Error) || error.name !== 'SuppressedError') return { first: error };
  const { suppressed, error: second } = error as Error & { suppressed?: unknown; error?: unknown };
  return { first: unwrapSuppressed(suppressed).first, second };
}
