import fc from 'fast-check';
import type { Step } from './tiny-archive.js';

export interface RandomDisk {
  readonly disk: Buffer;
  readonly steps: readonly Step[];
}

const span = fc.record({
  gap: fc.constantFrom(0, 0, 1, 513, 4096, 70_000),
  length: fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.constantFrom(65_536, 65_537, 200_000)),
  content: fc.constantFrom('noise', 'noise', 'text', 'zero', 'half'),
  endsFrame: fc.boolean(),
  zero: fc.boolean(),
});

/** A disk of random content, and steps that describe an ascending part of it. */
export const randomDisk: fc.Arbitrary<RandomDisk> = fc
  .tuple(fc.array(span, { maxLength: 40 }), fc.integer({ min: 0, max: 70_000 }), fc.nat())
  .map(([spans, rest, seed]) => {
    const size = spans.reduce((sum, { gap, length }) => sum + gap + length, rest);
    const disk = Buffer.alloc(size);
    const steps: Step[] = [];
    let pieces: { offset: number; length: number }[] = [];
    const endFrame = () => {
      if (pieces.length > 0) steps.push({ kind: 'frame', pieces });
      pieces = [];
    };
    let at = 0;
    for (const { gap, length, content, endsFrame, zero } of spans) {
      const offset = at + gap;
      at = offset + length;
      if (pieces.reduce((sum, piece) => sum + piece.length, length) > 1 << 20) endFrame();
      if (zero) {
        endFrame();
        steps.push({ kind: 'zero', offset, length });
        continue;
      }
      paint(disk.subarray(offset, at), content, seed + at);
      pieces.push({ offset, length });
      if (endsFrame) endFrame();
    }
    endFrame();
    return { disk, steps };
  });

function paint(bytes: Buffer, content: string, seed: number): void {
  if (content === 'zero') return;
  let state = seed | 1;
  const end = content === 'half' ? bytes.length / 2 : bytes.length;
  for (let at = 0; at < end; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[at] = content === 'text' ? 97 + (at % 7) : state >>> 24;
  }
}

/** What a target that was full of 0xaa must hold after the archive was applied. */
export function expectedAfter({ disk, steps }: RandomDisk): Buffer {
  const target = Buffer.alloc(disk.length, 0xaa);
  for (const step of steps) {
    if (step.kind === 'zero') target.fill(0, step.offset, step.offset + step.length);
    else for (const { offset, length } of step.pieces) disk.copy(target, offset, offset, offset + length);
  }
  return target;
}
