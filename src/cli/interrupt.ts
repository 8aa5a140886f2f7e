import { EXIT_SIGINT, EXIT_SIGTERM } from './exit-codes.js';

const CODES = { SIGINT: EXIT_SIGINT, SIGTERM: EXIT_SIGTERM } as const;

/** SIGINT and SIGTERM as an AbortSignal. The first asks to stop and clean up, the second ends the process. */
export interface Interrupt extends Disposable {
  readonly signal: AbortSignal;
  /** Exit code of the signal that came, if one came. */
  readonly exitCode: number | undefined;
}

export function catchInterrupts(onFirst: () => void = () => undefined): Interrupt {
  const controller = new AbortController();
  let exitCode: number | undefined;
  const handle = (name: NodeJS.Signals) => {
    const code = CODES[name as keyof typeof CODES];
    if (exitCode !== undefined) process.exit(code);
    exitCode = code;
    onFirst();
    controller.abort(new Error(name));
  };
  const names = Object.keys(CODES) as NodeJS.Signals[];
  for (const name of names) process.on(name, handle);
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    [Symbol.dispose]: () => {
      for (const name of names) process.off(name, handle);
    },
  };
}
