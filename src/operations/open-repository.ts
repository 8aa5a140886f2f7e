/** Opening and making repositories, for the command line and the library. */
import { stat } from 'node:fs/promises';
import { RepositoryError } from '../errors.js';
import {
  initRepository as makeRepository,
  openRepository,
  type Repository,
} from '../repository/repository.js';
import type { StorageBackend } from '../repository/storage-backend.js';

export { openRepository };

/** What an operation is given: an open repository, or where one is. */
export async function useRepository(repository: string | Repository): Promise<Repository> {
  return typeof repository === 'string' ? await openRepository(repository) : repository;
}

/**
 * Makes a repository in an empty or missing folder.
 * @throws RepositoryError REPOSITORY_INVALID when something else is there, or a repository already.
 */
export async function initRepository(location: string | StorageBackend): Promise<Repository> {
  const name = typeof location === 'string' ? location : location.describe();
  if (typeof location === 'string' && (await isFile(location))) {
    throw new RepositoryError('REPOSITORY_INVALID', `${name} is a file, not a folder`, {
      hint: 'name an empty or a missing folder',
    });
  }
  if (await isMissing(location)) return await makeRepository(location);
  throw new RepositoryError('REPOSITORY_INVALID', `${name} is a repository already`, {
    hint: 'use it as it is: nothing has to be done',
  });
}

/** False for a repository; whatever else is wrong with the place is thrown. */
async function isMissing(location: string | StorageBackend): Promise<boolean> {
  try {
    await openRepository(location);
    return false;
  } catch (error) {
    if (error instanceof RepositoryError && error.code === 'REPOSITORY_MISSING') return true;
    throw error;
  }
}

/** Only what is surely a file; what cannot be looked at is told by opening it. */
async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    found => found.isFile(),
    () => false,
  );
}
