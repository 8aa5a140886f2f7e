import { runCommandLine } from './run-command.js';

/** Runs the user's command around a backup. @throws NbdeltaError HOOK_FAILED. */
export async function runHook(
  which: 'pre' | 'post',
  command: string | undefined,
  env: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<void> {
  if (command === undefined) return;
  await runCommandLine(command, {
    role: `--${which}-hook`,
    code: 'HOOK_FAILED',
    hint: which === 'pre' ? 'nothing was begun' : 'see what the command says',
    env,
    signal,
  });
}

/** Asks the user's command whether the job is still the same and healthy. @throws NbdeltaError CONFIRM_REFUSED. */
export async function runConfirmCommand(command: string, signal?: AbortSignal): Promise<void> {
  await runCommandLine(command, {
    role: '--confirm',
    code: 'CONFIRM_REFUSED',
    hint: 'nothing was committed; look at the job, and begin again',
    env: {},
    signal,
  });
}
