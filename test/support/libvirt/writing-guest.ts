import { open } from 'node:fs/promises';

/**
 * A boot sector for a real CPU: waits until sector 1 begins with "G", then writes 64 KiB after 64 KiB from sector 128
 * on, until sector 32768. The smallest guest whose own writes can meet a full scratch file.
 */
const BOOT_SECTOR = [
  '31c0 8ed8 fb', // xor ax,ax; mov ds,ax; sti
  'be307c b442 b280 cd13', // wait: read sector 1 to 0000:8000
  '803e008047 75f0', // cmp byte [8000],'G'; jne wait
  'be407c b80043 b280 cd13', // write: 128 sectors from 1000:0000
  '8106487c8000', // add word [sector],128
  '813e487c0080 75e8', // cmp word [sector],32768; jne write
  'f4 ebfd', // hlt for ever
  '1000 0100 0080 0000 0100000000000000', // 7c30: packet of the read
  '1000 8000 0000 0010 8000000000000000', // 7c40: packet of the write
].join('');

/** Content of sector 0. */
export function writingBootSector(): Buffer {
  const sector = Buffer.alloc(512);
  sector.write(BOOT_SECTOR.replaceAll(' ', ''), 'hex');
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

/** A raw image whose guest writes when sector 1 begins with "G"; the rest is filled. */
export async function writeWritingImage(path: string, size: number): Promise<void> {
  const file = await open(path, 'wx');
  try {
    const content = Buffer.alloc(size, 0x5a);
    writingBootSector().copy(content);
    await file.write(content);
  } finally {
    await file.close();
  }
}
