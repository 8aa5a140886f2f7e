/** Makes text coloured, or leaves it as it is. */
export type Paint = (text: string) => string;

export interface Style {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly red: Paint;
  readonly green: Paint;
  readonly yellow: Paint;
  readonly cyan: Paint;
}

const SGR = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39], cyan: [36, 39] };

/** ANSI colours, or none at all. */
export function createStyle(colours: boolean): Style {
  const paint = ([on, off]: readonly number[]): Paint =>
    colours ? text => (text === '' ? '' : `\u001b[${on}m${text}\u001b[${off}m`) : text => text;
  return {
    bold: paint(SGR.bold),
    dim: paint(SGR.dim),
    red: paint(SGR.red),
    green: paint(SGR.green),
    yellow: paint(SGR.yellow),
    cyan: paint(SGR.cyan),
  };
}

/** Columns that text takes, colours not counted. */
export function visibleLength(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
  return [...text.replace(/\u001b\[\d+m/g, '')].length;
}
