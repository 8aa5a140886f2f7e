const DIGIT_BITS = 11;
const DIGITS = 1 << DIGIT_BITS;

/**
 * The order in which keys ascend; equal ones keep the order that they have. A radix sort: its time is the number of keys times
 * the digits that differ, however they lie. Memory is kept from call to call.
 */
export class RadixOrder {
  readonly #counts = new Uint32Array(DIGITS);
  #from: Uint32Array;
  #to: Uint32Array;

  constructor(capacity: number) {
    this.#from = new Uint32Array(capacity);
    this.#to = new Uint32Array(capacity);
  }

  /** Numbers of the first `count` keys in ascending order; valid until the next call. */
  of(keys: Uint32Array, count: number): Uint32Array {
    const used = usedBits(keys, count);
    for (let index = 0; index < count; index++) this.#from[index] = index;
    if (used === 0) return this.#from;
    const bits = 32 - Math.clz32(used);
    // Offsets are multiples of a sector or more: their low bits say nothing.
    let shift = 31 - Math.clz32(used & -used);
    for (; shift < bits; shift += DIGIT_BITS) this.#pass(keys, count, shift);
    return this.#from;
  }

  #pass(keys: Uint32Array, count: number, shift: number): void {
    const [counts, from, to] = [this.#counts, this.#from, this.#to];
    counts.fill(0);
    for (let index = 0; index < count; index++) counts[(keys[index]! >>> shift) & (DIGITS - 1)]!++;
    let place = 0;
    for (let digit = 0; digit < DIGITS; digit++) {
      const here = counts[digit]!;
      counts[digit] = place;
      place += here;
    }
    for (let index = 0; index < count; index++) {
      const key = from[index]!;
      to[counts[(keys[key]! >>> shift) & (DIGITS - 1)]!++] = key;
    }
    this.#from = to;
    this.#to = from;
  }
}

/** Bits that are set in any of the keys; 0 when they ascend already. */
function usedBits(keys: Uint32Array, count: number): number {
  let [used, isAscending] = [0, true];
  for (let index = 1; index < count; index++) if (keys[index]! < keys[index - 1]!) isAscending = false;
  if (isAscending) return 0;
  for (let index = 0; index < count; index++) used |= keys[index]!;
  return used;
}
