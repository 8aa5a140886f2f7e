/** A part of a volume. Bytes. */
export interface TarRegion {
  readonly name: string;
  readonly offset: number;
  readonly length: number;
  /** Whether a restore cannot do without it. */
  readonly needed: boolean;
}

const BLOCK = 512;
const PACK_TABLE_MAGIC = Buffer.from('5e2a4d18', 'hex');

/** Everything that a volume consists of, from the first byte to the last, read with nothing of nbdelta's. */
export function tarRegions(tar: Buffer): TarRegion[] {
  const regions: TarRegion[] = [];
  const add = (name: string, offset: number, length: number, needed: boolean): void => {
    if (length > 0) regions.push({ name, offset, length, needed });
  };
  let at = 0;
  while (tar[at] !== 0) {
    const name = tar.toString('latin1', at, tar.indexOf(0, at));
    const size = Number.parseInt(tar.toString('latin1', at + 124, at + 135), 8);
    const [start, end] = [at + BLOCK, at + BLOCK + size];
    const isData = name.startsWith('data/');
    add(`tar header of ${name}`, at, BLOCK, name === 'trailer.json');
    if (isData) {
      const table = start + tar.subarray(start, end).lastIndexOf(Buffer.concat([PACK_TABLE_MAGIC]));
      add('frames', start, table - start, true);
      add('pack table', table, end - table, false);
    } else {
      add(name, start, size, name !== 'header.json');
    }
    at = Math.ceil(end / BLOCK) * BLOCK;
    add(`padding of ${name}`, end, at - end, false);
  }
  add('end', at, tar.length - at, true);
  return regions;
}
