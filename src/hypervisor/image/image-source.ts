import { parse, resolve } from 'node:path';
import { UsageError } from '../../errors.js';
import type { Guest } from '../front-end.js';
import type { NamedSource } from '../open-front-end.js';

/** An image as the caller names it. */
export interface ImageSource {
  /** The disk's name: its export is called like it. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  /** QEMU's name of the format when it is known (`raw`, `qcow2`, `luks` …); `undefined`: see `image-format.ts`. */
  readonly format: string | undefined;
}

/** A guest that is off, with its images. */
export interface ImageGuest {
  /** Whose guest it is: libvirt's domains that are shut off are read from their images as well. */
  readonly kind: 'image' | 'libvirt';
  readonly name: string;
  readonly id: string | null;
  /** libvirt's connection URI, when one was given. */
  readonly connect: string | null;
  /** As given: `libvirt:web1`; `undefined`: one for each image. */
  readonly source: string | undefined;
  readonly disks: readonly ImageSource[];
  readonly skipped: Guest['skipped'];
}

const LONGEST_NAME = 64;

/** The guest of `image:` sources. @throws UsageError when two disks are called alike. */
export function guestOfImages(sources: readonly NamedSource[]): ImageGuest {
  const disks = sources.map(({ disk, source }): ImageSource => {
    if (source.kind !== 'image') throw new UsageError(`${source.text} is no image`);
    const path = resolve(source.path);
    return { name: disk ?? nameOfFile(path), path, format: undefined };
  });
  checkNames(disks);
  const name = nameOfFile(disks[0]?.path ?? '');
  return { kind: 'image', name, id: null, connect: null, source: undefined, disks, skipped: [] };
}

/** A file's name without its extension, made fit for the name of a disk, an export and a folder. */
export function nameOfFile(path: string): string {
  const name = parse(path).name.replace(/[^A-Za-z0-9._-]/g, '-');
  return name.replace(/^[.-]+/, '').slice(0, LONGEST_NAME) || 'disk';
}

function checkNames(disks: readonly ImageSource[]): void {
  for (const [index, { name, path }] of disks.entries()) {
    const other = disks.slice(0, index).find(disk => disk.name === name);
    if (other === undefined) continue;
    throw new UsageError(`${other.path} and ${path} would both be disk ${JSON.stringify(name)}`, {
      hint: `name them: vda=image:${other.path} vdb=image:${path}`,
    });
  }
}
