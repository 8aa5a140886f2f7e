import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { packageFile } from './package-file.js';

const packageSchema = z.object({ name: z.string(), version: z.string() });

/** Name and version of this package, as manifests and `--version` state them. */
export function readSoftware(): { readonly name: string; readonly version: string } {
  const text = readFileSync(packageFile('package.json'), 'utf8');
  return packageSchema.parse(JSON.parse(text));
}
