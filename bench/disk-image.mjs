/**
 * The disk that is backed up: stretches of 1 MiB that are, in random order, empty (half of them), incompressible
 * (a quarter) or text that never repeats (a quarter). The same seed gives the same disk.
 */
import { createCipheriv } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';

const MIB = 1 << 20;
const EMPTY = Buffer.alloc(MIB);

/** xorshift32: 32 unsigned bits a call. */
export function openRandom(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Incompressible bytes: AES-CTR keystream, which the processor makes at memory speed. */
export function openNoise(seed) {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  return length => {
    const parts = [];
    for (let left = length; left > 0; left -= MIB) {
      parts.push(cipher.update(left < MIB ? EMPTY.subarray(0, left) : EMPTY));
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts);
  };
}

/** `count` byte strings that `make` writes. */
function wordTable(count, make) {
  return Array.from({ length: count }, (_, index) => Buffer.from(make(index)));
}

function wordMaker(next) {
  const syllables = 'ba co di fu ge ha ji ko lu me no pa qui ro sa te un vi wo xe yo za ser tion ing'.split(
    ' ',
  );
  const word = () =>
    Array.from({ length: 2 + (next() % 3) }, () => syllables[next() % syllables.length]).join('');
  return count => Array.from({ length: count }, word).join(' ');
}

const pad = (number, digits) => String(number).padStart(digits, '0');

/** Lines of a log: a time, a service, words, and an identifier that never comes again (zstd -1 makes it four times smaller). */
export function openText(seed) {
  const next = openRandom(seed);
  const words = wordMaker(next);
  const times = wordTable(
    500,
    i => `2026-11-${pad(1 + (i % 28), 2)}T${pad(i % 24, 2)}:${pad(i % 60, 2)}:${pad((i * 7) % 60, 2)}Z `,
  );
  const services = wordTable(
    300,
    i => `host${i % 40} ${words(1)}[${1000 + i}]: level=${i % 3 ? 'info' : 'warning'} `,
  );
  const phrases = wordTable(600, () => `${words(24)}; `);
  const identifiers = openNoise(seed + 1)(4 * MIB).toString('hex');
  const pool = Buffer.from(identifiers, 'latin1');
  return length => fillText(Buffer.allocUnsafe(length), { next, times, services, phrases, pool });
}

function fillText(target, { next, times, services, phrases, pool }) {
  const pick = table => table[next() % table.length];
  let at = 0;
  while (at < target.length) {
    at += pick(times).copy(target, at);
    at += pick(services).copy(target, at);
    for (let count = 1 + (next() % 3); count > 0; count--) at += pick(phrases).copy(target, at);
    const start = next() % (pool.length - 48);
    at += pool.copy(target, at, start, start + 48);
    if (at < target.length) target[at++] = 10;
  }
  return target;
}

/** Writes the disk to `path`, sparse. @returns bytes of data in it. */
export function makeDisk(path, size, seed = 0x6e626431) {
  const [next, noise, text] = [openRandom(seed), openNoise(seed), openText(seed)];
  const file = openSync(path, 'w');
  let data = 0;
  try {
    ftruncateSync(file, size);
    for (let offset = 0; offset < size; offset += MIB) {
      const kind = next() % 4;
      if (kind >= 2) continue;
      writeSync(file, kind === 0 ? noise(MIB) : text(MIB), 0, MIB, offset);
      data += MIB;
    }
  } finally {
    closeSync(file);
  }
  return data;
}
