import { setTimeout as delay } from 'node:timers/promises';

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;

/** Asks again and again until the answer is yes: whether it came in time. The pauses grow. */
export async function pollUntil(isDone: () => Promise<boolean>, withinMs: number): Promise<boolean> {
  const end = performance.now() + withinMs;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    if (await isDone()) return true;
    if (performance.now() + pause > end) return false;
    await delay(pause);
  }
}
