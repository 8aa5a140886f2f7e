import { UsageError } from '../errors.js';
import { type NbdUri, parseNbdUri } from '../nbd/protocol/uri.js';

/** What is backed up, by the scheme that says who drives the job. */
export type Source =
  /** A libvirt domain: name, uuid or id. */
  | { readonly kind: 'libvirt'; readonly text: string; readonly domain: string }
  /** A QEMU or qemu-storage-daemon, by its QMP unix socket. */
  | { readonly kind: 'qmp'; readonly text: string; readonly socket: string }
  /** An image of a guest that is off. */
  | { readonly kind: 'image'; readonly text: string; readonly path: string }
  /** An export of a job that somebody else drives. */
  | { readonly kind: 'nbd'; readonly text: string; readonly uri: NbdUri };

export type SourceKind = Source['kind'];

const SCHEME = /^([A-Za-z][A-Za-z0-9+.-]*):/;

/**
 * Parses `libvirt:DOMAIN`, `qmp:SOCKET`, `image:PATH` and NBD URIs.
 * @throws UsageError when it is none of them, or names nothing.
 */
export function parseSource(text: string): Source {
  const scheme = SCHEME.exec(text)?.[1]?.toLowerCase();
  const rest = text.slice((scheme?.length ?? -1) + 1);
  switch (scheme) {
    case 'libvirt':
      return { kind: 'libvirt', text, domain: named(rest, 'libvirt:DOMAIN') };
    case 'qmp':
      return { kind: 'qmp', text, socket: named(rest, 'qmp:SOCKET') };
    case 'image':
      return { kind: 'image', text, path: named(rest, 'image:PATH') };
    case 'nbd':
    case 'nbds':
    case 'nbd+unix':
    case 'nbds+unix':
      return { kind: 'nbd', text, uri: parseNbdUri(text) };
    default:
      // Something with an authority was meant as a URI: that parser says best what is wrong with it.
      if (text.includes('://')) return { kind: 'nbd', text, uri: parseNbdUri(text) };
      throw new UsageError(`${JSON.stringify(text)} is no source`, {
        hint: 'write libvirt:DOMAIN, qmp:SOCKET, image:PATH or an NBD URI',
      });
  }
}

function named(rest: string, form: string): string {
  // NUL would end the string for the programs that it is handed to.
  if (rest !== '' && !rest.includes('\0')) return rest;
  throw new UsageError(`the source names nothing: expected ${form}`);
}
