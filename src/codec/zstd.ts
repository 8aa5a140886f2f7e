import zstd from 'zstd-napi/binding.js';

/** What one frame needs of a compressor; keeps zstd's working memory between frames. */
export interface ZstdCompressor {
  /** Compresses `source` into one zstd frame at the start of `target`; returns its length. Throws when it does not fit. */
  compress(target: Uint8Array, source: Uint8Array): number;
}

/** What one frame needs of a decompressor; keeps zstd's working memory between frames. */
export interface ZstdDecompressor {
  /** Decompresses whole zstd frames into the start of `target`; returns the length. Throws on invalid input or when it does not fit. */
  decompress(target: Uint8Array, source: Uint8Array): number;
}

/** A compressor whose frames carry their content size and a checksum. */
export function createCompressor(level: number): ZstdCompressor {
  const context = new zstd.CCtx();
  context.setParameter(zstd.CParameter.compressionLevel, level);
  context.setParameter(zstd.CParameter.checksumFlag, 1);
  context.setParameter(zstd.CParameter.contentSizeFlag, 1);
  return { compress: (target, source) => context.compress2(target, source) };
}

/** `ZSTD_d_forceIgnoreChecksum` of zstd.h (since 1.4.7), which the package has no name for. */
const FORCE_IGNORE_CHECKSUM = 1002 as zstd.DParameter;

export interface DecompressorOptions {
  /**
   * Whether zstd's own checksums are compared; default true. Without, opening a frame takes an eighth less time: for
   * whoever compares a digest of all that it gives out.
   */
  readonly checksums?: boolean;
}

export function createDecompressor({ checksums = true }: DecompressorOptions = {}): ZstdDecompressor {
  const context = new zstd.DCtx();
  if (!checksums) context.setParameter(FORCE_IGNORE_CHECKSUM, 1);
  return { decompress: (target, source) => context.decompress(target, source) };
}

/** Most bytes that a zstd frame of `rawLength` raw bytes can need. */
export function sealedCapacity(rawLength: number): number {
  return zstd.compressBound(rawLength);
}

/** Length of the zstd (or skippable) frame at the start of `bytes`; throws when there is no whole frame. */
export function zstdFrameLength(bytes: Uint8Array): number {
  return zstd.findFrameCompressedSize(bytes);
}

/** Raw length that a zstd frame's header claims; `null` when it claims none. Throws when there is no valid header. */
export function zstdContentLength(frame: Uint8Array): number | null {
  return zstd.getFrameContentSize(frame);
}
