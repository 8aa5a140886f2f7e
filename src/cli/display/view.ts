import { createStyle, type Style } from './style.js';

/** How a stream wants its text. */
export interface View {
  readonly style: Style;
  /** Whether glyphs beyond ASCII can be shown. */
  readonly unicode: boolean;
  /** Width in characters. */
  readonly columns: number;
  readonly isTerminal: boolean;
}

/** Characters that a line of a table may have. What goes to a file or a program keeps every column. */
export function tableRoom({ columns, isTerminal }: View): number {
  return isTerminal ? columns : Number.POSITIVE_INFINITY;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Looks at a stream and the environment: NO_COLOR, TERM, LC_ALL, LC_CTYPE, LANG. */
export function viewOf(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  environment: Environment = process.env,
): View {
  const isTerminal = stream.isTTY === true;
  return {
    style: createStyle(isTerminal && !environment['NO_COLOR'] && environment['TERM'] !== 'dumb'),
    unicode: isUtf8(environment),
    columns: stream.columns || 100,
    isTerminal,
  };
}

function isUtf8(environment: Environment): boolean {
  const locale = environment['LC_ALL'] || environment['LC_CTYPE'] || environment['LANG'] || '';
  return /utf-?8/i.test(locale);
}
