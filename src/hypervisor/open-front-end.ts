import { UsageError } from '../errors.js';
import type { FrontEnd } from './front-end.js';
import type { FrontEndOptions } from './front-end-options.js';
import type { Source } from './source.js';

/** A source, and how its disk is called where one source is one disk. */
export interface NamedSource {
  readonly disk: string | undefined;
  readonly source: Source;
}

/**
 * The front-end for one guest: one domain or QMP socket, or the images or exports of its disks.
 * @throws UsageError when sources of different kinds are mixed.
 */
export async function openFrontEnd(
  sources: readonly NamedSource[],
  options: FrontEndOptions,
): Promise<FrontEnd> {
  const kinds = new Set(sources.map(({ source }) => source.kind));
  const first = sources[0]?.source;
  if (first === undefined || kinds.size !== 1) {
    throw new UsageError('a backup is of one guest: one domain, one QMP socket, images, or exports');
  }
  switch (first.kind) {
    case 'libvirt': {
      const { LibvirtFrontEnd } = await import('./libvirt/libvirt-front-end.js');
      return new LibvirtFrontEnd(sources, options);
    }
    case 'qmp': {
      const { QmpFrontEnd } = await import('./qmp/qmp-front-end.js');
      return new QmpFrontEnd(sources, options);
    }
    case 'image': {
      const { ImageFrontEnd } = await import('./image/image-front-end.js');
      return new ImageFrontEnd(sources, options);
    }
    case 'nbd':
      throw new UsageError('an NBD export has no front-end: whoever drives its job ends it');
  }
}
