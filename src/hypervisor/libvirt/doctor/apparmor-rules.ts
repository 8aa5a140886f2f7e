/** What a profile's text says of one path. */
export type RuleAnswer = 'allowed' | 'denied' | 'silent';

interface Rule {
  readonly isDeny: boolean;
  readonly pattern: RegExp;
  readonly permissions: string;
}

/** `/path/** rw,` and `rw /path/**,`, with what may stand before; quotes around the path. */
const PATH_FIRST =
  /^((?:(?:audit|allow|deny|owner|file|priority=\S+)\s+)*)("[^"]+"|[/@{][^\s]*)\s+([a-zA-Z]+)\s*,/;
const PATH_LAST =
  /^((?:(?:audit|allow|deny|owner|file|priority=\S+)\s+)*)([rwaxmlkiup]+)\s+("[^"]+"|[/@{][^\s]*?)\s*,/i;

/** Variables that Debian's and Ubuntu's tunables set and that a folder for sockets may lie in. */
const VARIABLES: Readonly<Record<string, string>> = {
  '@{run}': '/{,var/}run',
  '@{HOMEDIRS}': '/home/',
  '@{HOME}': '{/home/*,/root}',
};

/**
 * Whether the rules of a profile let a program write a path (and so make a socket there). A rule that denies wins.
 * Only what stands in the text is seen: `include` is followed by whoever collects it.
 */
export function mayWritePath(profile: string, path: string): RuleAnswer {
  const fitting = parseRules(profile).filter(
    ({ pattern, permissions }) => /w/i.test(permissions) && pattern.test(path),
  );
  if (fitting.some(({ isDeny }) => isDeny)) return 'denied';
  return fitting.length > 0 ? 'allowed' : 'silent';
}

function parseRules(profile: string): readonly Rule[] {
  return profile.split('\n').flatMap(line => {
    const text = line.trim();
    const [, before = '', path, permissions] = PATH_FIRST.exec(text) ?? swapped(PATH_LAST.exec(text)) ?? [];
    if (path === undefined || permissions === undefined) return [];
    const pattern = globPattern(path.replace(/^"|"$/g, ''));
    return [{ isDeny: /\bdeny\b/.test(before), pattern, permissions }];
  });
}

function swapped(match: RegExpExecArray | null): readonly (string | undefined)[] | undefined {
  return match === null ? undefined : [match[0], match[1], match[3], match[2]];
}

/** AppArmor's globs: `*` and `?` stay within one folder, `**` does not; `{a,b}` and `[…]` are alternatives. */
function globPattern(glob: string): RegExp {
  const expanded = glob.replace(/@\{\w+\}\/?/g, variable => {
    const value = VARIABLES[variable.replace(/\/$/, '')];
    return value === undefined ? variable : `${value}${variable.endsWith('/') ? '/' : ''}`;
  });
  const tokens = expanded.match(/\*\*|\*|\?|\{|\}|,|\[[^\]]*\]|\\.|[^*?{},[\\]+/g) ?? [];
  let depth = 0;
  const source = tokens.map(token => {
    if (token === '{') depth++;
    if (token === '}') depth--;
    return token === ',' && depth === 0 ? ',' : tokenPattern(token);
  });
  return depth === 0 ? compiled(source.join('')) : NEVER;
}

/** For what AppArmor would not load either: braces that do not close, `[z-a]`. */
const NEVER = /(?!)/;

function compiled(source: string): RegExp {
  try {
    return new RegExp(`^${source}$`);
  } catch {
    return NEVER;
  }
}

function tokenPattern(token: string): string {
  switch (token) {
    case '**':
      return '.*';
    case '*':
      return '[^/]*';
    case '?':
      return '[^/]';
    case '{':
      return '(?:';
    case '}':
      return ')';
    case ',':
      return '|';
    default:
      return token.startsWith('[') ? token : token.replace(/^\\(?=.)/, '').replace(/[$()+.^|\\/]/g, '\\$&');
  }
}
