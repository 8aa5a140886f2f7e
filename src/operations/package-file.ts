import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/**
 * Where a file of this package is. Asked by the package's own name: the command line runs bundled, from another folder
 * than the library's modules.
 * @param path relative to the package's root.
 */
export function packageFile(path: string): URL {
  const root = createRequire(import.meta.url).resolve('nbdelta/package.json');
  return new URL(path, pathToFileURL(root));
}
