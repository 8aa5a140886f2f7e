import { sealedCapacity } from '../../codec/zstd.js';

/** Numbers that archive format v1 fixes; `docs/format/archive-v1.md` is the reference. Bytes. */
export const ARCHIVE_FORMAT = 'nbdelta-archive';
export const ARCHIVE_VERSION = 1;

/** 52 bits of offset: 4 PiB. */
export const MAX_DISK_SIZE = 2 ** 52;
/** 22 bits of length and offset inside a frame: 4 MiB. */
export const MAX_FRAME_RAW = 2 ** 22;
/** More than any codec needs for MAX_FRAME_RAW: the cap for memory taken because a row says so. */
export const MAX_FRAME_STORED = sealedCapacity(MAX_FRAME_RAW) + 4096;
/** 44 bits of length: 16 TiB. */
export const MAX_ZERO_EXTENT = 2 ** 44;
/** Frame number of a zero extent. */
export const ZERO_FRAME = 0xffffffff;

export const FRAME_ROW_LENGTH = 80;
export const EXTENT_ROW_LENGTH = 16;
export const ARCHIVE_ID_LENGTH = 16;

/** A pack is closed when it has as much as this stored, or as many frames; before it has more extents. */
export const PACK_TARGET = 8 * 1024 * 1024;
export const PACK_MAX_FRAMES = 16;
export const PACK_MAX_EXTENTS = 65536;

export const MAX_VOLUME_BYTES = 128 * 2 ** 30;
export const MAX_VOLUMES = 0xffff;
export const MAX_ORIGINS = 0x10000;

export const TAR_BLOCK = 512;
export const TRAILER_LENGTH = 512;
/** Header block of the trailer, the trailer, two zero blocks: how every volume ends. */
export const VOLUME_TAIL = TAR_BLOCK + TRAILER_LENGTH + 2 * TAR_BLOCK;
