import { errorLine, type NbdeltaError, printable, toNbdeltaError } from '../errors.js';
import { EXIT_CODES } from './exit-codes.js';
import type { Output } from './output.js';

const DEFECT_HINT = 'this is a defect in nbdelta, please report it; NBDELTA_DEBUG=1 shows where it happened';

/** An error as `--json` prints it. */
export interface ErrorDocument {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly hint: string | null;
    readonly fields: NbdeltaError['fields'];
    readonly exitCode: number;
  };
}

/** @param exitCode of the signal that stopped the command, when one did. */
export function describeError(error: unknown, exitCode?: number): ErrorDocument {
  const known = toNbdeltaError(error);
  const hint = known.hint ?? (known.code === 'INTERNAL' ? DEFECT_HINT : undefined);
  return {
    error: {
      code: known.code,
      message: errorLine(known),
      hint: hint ? printable(hint.replace(/\s*\n\s*/g, ' ')) : null,
      fields: known.fields,
      exitCode: exitCode ?? EXIT_CODES[known.code],
    },
  };
}

/** One line, and one more when something can be done about it. */
export function printError({ error }: ErrorDocument, output: Output): void {
  const { style } = output.view;
  output.line(`${style.red('nbdelta:')} ${error.message}`);
  if (error.hint) output.line(`  ${style.dim('hint:')} ${error.hint}`);
}

/** As one JSON document; on `messages` for people when `results` cannot be written (a full disk). */
export async function printJsonError(
  document: ErrorDocument,
  results: Output,
  messages: Output,
): Promise<void> {
  results.line(JSON.stringify(document, null, 2));
  try {
    await results.flush();
  } catch (failure) {
    const second = describeError(failure);
    if (document.error.message !== second.error.message) printError(document, messages);
    printError(second, messages);
  }
}

/** Where an error came from, with everything that caused it; for NBDELTA_DEBUG=1 only. */
export function formatTrace(error: unknown): string {
  const parts: string[] = [];
  for (
    let at = error;
    at !== undefined && parts.length < 10;
    at = at instanceof Error ? at.cause : undefined
  ) {
    parts.push(at instanceof Error ? (at.stack ?? at.message) : String(at));
  }
  return parts.join('\ncaused by: ');
}
