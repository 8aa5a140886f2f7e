import * as z from 'zod';

/** What tells one place from another; everything else may be a credential or change from day to day. */
const PLACE = [
  'driver',
  'host',
  'port',
  'path',
  'filename',
  'server',
  'pool',
  'namespace',
  'image',
  'volume',
  'export',
];

const options = z.record(z.string(), z.unknown());

/**
 * Where a node's bytes are, from its file name as QEMU writes it: a path, a URL, or `json:{…}` with its options. Users,
 * passwords and queries of URLs are left out. `null` when there is nothing to say.
 */
export function describeSource(file: string): string | null {
  if (file.startsWith('json:')) return describeOptions(file.slice('json:'.length));
  // A local path may have a colon in it, but not "://".
  const url = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*@)?([^?#]*)/i.exec(file);
  if (url === null) return file === '' ? null : file;
  return `${url[1]}${url[3]}`;
}

function describeOptions(json: string): string | null {
  try {
    const seen = innermost(options.parse(JSON.parse(json)));
    if (typeof seen['filename'] === 'string') return describeSource(seen['filename']);
    const kept = Object.fromEntries(PLACE.filter(key => key in seen).map(key => [key, placeOf(seen[key])]));
    return Object.keys(kept).length === 0 ? null : JSON.stringify(kept);
  } catch {
    return null; // QEMU cuts very long names: what is left of one tells nothing
  }
}

/** Formats and filters have what they stand on as `file`. */
function innermost(seen: z.output<typeof options>): z.output<typeof options> {
  const below = options.safeParse(seen['file']);
  return below.success ? innermost(below.data) : seen;
}

function placeOf(value: unknown): unknown {
  const nested = options.safeParse(value);
  if (nested.success) {
    return Object.fromEntries(
      [...PLACE, 'type'].filter(key => key in nested.data).map(key => [key, placeOf(nested.data[key])]),
    );
  }
  return typeof value === 'string' ? describeSource(value) : value;
}
