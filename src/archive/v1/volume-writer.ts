import { type ArchiveHeader, encodeArchiveHeader, HEADER_MEMBER } from './archive-header.js';
import { type ArchiveTrailer, encodeArchiveTrailer, TRAILER_MEMBER } from './archive-trailer.js';
import { TAR_BLOCK } from './format-limits.js';
import { encodeTarHeader, TAR_END, tarMemberLength, tarPadding } from './tar-member.js';

/** Where a volume's bytes go. The writer appends in order and never looks back. */
export interface VolumeSink {
  /** Appends the chunks one after another; when it resolves, they may be reused. */
  append(chunks: readonly Uint8Array[]): Promise<void>;
  /** Makes the volume durable. */
  close(): Promise<void>;
  /** Gives the volume up, also after `close`; nothing of it may stay. */
  abort(): Promise<void>;
}

/** One volume being written: members to bytes, and how many there are. */
export class VolumeWriter {
  readonly number: number;
  readonly #sink: VolumeSink;
  #position = 0;
  #members = 0;

  constructor(number: number, sink: VolumeSink) {
    this.number = number;
    this.#sink = sink;
  }

  /** Bytes so far; where the next member's header block goes. */
  get position(): number {
    return this.#position;
  }

  /** Whether it has more than its header. */
  get hasContent(): boolean {
    return this.#members > 1;
  }

  /** Where the content of a member lies that is written next. */
  get nextContentOffset(): number {
    return this.#position + TAR_BLOCK;
  }

  writeHeader(header: ArchiveHeader): Promise<void> {
    const content = encodeArchiveHeader(header);
    return this.writeMember(HEADER_MEMBER, [content], content.length);
  }

  /** Writes a member whose chunks have `size` bytes together. */
  async writeMember(name: string, chunks: readonly Uint8Array[], size: number): Promise<void> {
    const header = await encodeTarHeader(name, size);
    await this.#sink.append([header, ...chunks, tarPadding(size)].filter(chunk => chunk.length > 0));
    this.#position += tarMemberLength(size);
    this.#members++;
  }

  /** Writes the end of the volume and makes it durable. */
  async close(trailer: ArchiveTrailer): Promise<void> {
    const content = encodeArchiveTrailer(trailer);
    await this.writeMember(TRAILER_MEMBER, [content], content.length);
    await this.#sink.append([TAR_END]);
    this.#position += TAR_END.length;
    await this.#sink.close();
  }

  abort(): Promise<void> {
    return this.#sink.abort();
  }
}
