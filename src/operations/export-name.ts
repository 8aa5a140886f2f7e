import { parseNbdUri } from '../nbd/protocol/uri.js';

/** The export that an NBD URI names; empty for the default export. @throws UsageError (NBD_URI_INVALID). */
export function exportNameOf(uri: string): string {
  return parseNbdUri(uri).exportName;
}
