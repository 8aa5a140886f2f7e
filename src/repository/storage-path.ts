import { StorageError } from '../errors.js';

const NAME = /^[A-Za-z0-9._-]{1,200}$/;

/** Whether `name` can be one part of a path inside a repository. */
export function isStorageName(name: string): boolean {
  return NAME.test(name) && name !== '.' && name !== '..';
}

/**
 * The parts of a path inside a repository; none for the repository itself (`''`). Names come from manifests
 * too, so this is what keeps a hostile manifest from reaching files outside of the repository.
 * @throws StorageError for an absolute path, `..`, or characters that no name of ours has.
 */
export function splitStoragePath(path: string): readonly string[] {
  if (path === '') return [];
  const parts = path.split('/');
  const bad = parts.find(part => !isStorageName(part));
  if (bad === undefined) return parts;
  throw new StorageError(
    `not a path inside a repository: ${JSON.stringify(path)} (part ${JSON.stringify(bad)})`,
    {
      hint: 'Names have letters, digits, ".", "_" and "-" only.',
    },
  );
}
