/** Who may import whom in src/: the table of docs/architecture, held by reading the import lines. */

/** A rule that a file breaks; one line for the reader of a failing test. */
export type Violation = string;

/** Sources by path relative to the repository: `src/nbd/client/nbd-client.ts` → text. */
export type SourceTree = ReadonlyMap<string, string>;

const LOWER_ROOMS = [
  'errors',
  'process',
  'buffers',
  'extents',
  'nbd/protocol',
  'nbd/transport',
  'nbd/client',
  'nbd/server',
  'changes',
  'codec',
  'archive',
  'repository',
  'chain',
  'hypervisor',
] as const;

/** Room → the other rooms that it may import, for types as for values. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  process: [],
  buffers: [],
  extents: ['errors'],
  'nbd/protocol': ['errors'],
  'nbd/transport': ['errors', 'nbd/protocol'],
  'nbd/client': ['errors', 'extents', 'nbd/protocol', 'nbd/transport'],
  'nbd/server': ['errors', 'buffers', 'extents', 'nbd/protocol', 'nbd/transport'],
  changes: ['errors', 'extents', 'nbd/protocol', 'nbd/client'],
  codec: ['errors'],
  archive: ['errors', 'extents', 'codec'],
  repository: ['errors', 'process', 'archive', 'extents'],
  chain: ['errors', 'buffers', 'extents', 'codec', 'archive', 'repository'],
  hypervisor: ['errors', 'process', 'nbd/protocol'],
  operations: LOWER_ROOMS,
  cli: ['operations', 'errors'],
  // The errors are values: whoever uses the library must be able to ask `instanceof`.
  index: ['operations', 'errors'],
};

/** The room whose files alone may import a package. */
const PACKAGE_ROOMS: Readonly<Record<string, string>> = {
  'zstd-napi': 'codec',
  '@xmldom/xmldom': 'hypervisor',
};

/** Files beside the code that the package ships, and that are read. */
const SHIPPED: ReadonlySet<string> = new Set([
  'package.json',
  'docs/format/archive-v1.md',
  'fixtures/restore-v1.py',
]);

const MEANINGLESS_NAMES = new Set(['utils', 'util', 'helpers', 'helper', 'common', 'manager']);

interface ImportLine {
  readonly specifier: string;
  /** `import type` and `export type`: nothing is left of it at run time. */
  readonly isType: boolean;
}

/** Blanks comments and leaves strings: an import in an example is none. */
function withoutComments(source: string): string {
  const tokens = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
  return source.replace(tokens, token => (token.startsWith('/') ? ' ' : token));
}

const STATEMENT = /\b(?:import|export)\s+(type\s)?[^'"`;()=]*?\bfrom\s*['"]([^'"]+)['"]/g;
const SIDE_EFFECT = /\bimport\s*['"]([^'"]+)['"]/g;
/** `import('x')`, `require('x')`, `require.resolve('x')`, `import.meta.resolve('x')`, `new URL('x', import.meta.url)`. */
const CALL =
  /(?:\bimport|\brequire|\brequire\.resolve|\bimport\.meta\.resolve|\bnew\s+URL)\s*\(\s*['"`]([^'"`]+)['"`]/g;

/** Every module that a source names, in whatever way. */
export function readImports(source: string): readonly ImportLine[] {
  const text = withoutComments(source);
  const statements = [...text.matchAll(STATEMENT)].map(([, type, specifier]) => ({
    specifier: specifier!,
    isType: type !== undefined,
  }));
  const others = [...text.matchAll(SIDE_EFFECT), ...text.matchAll(CALL)];
  return [...statements, ...others.map(([, specifier]) => ({ specifier: specifier!, isType: false }))];
}

/** `src/nbd/client/x.ts` → `nbd/client`; a file directly in src is a room of its own. */
function roomOf(path: string): string {
  const parts = path.replace(/^src\//, '').split('/');
  if (parts.length === 1) return parts[0]!.replace(/\.[jt]s$/, '');
  return parts[0] === 'nbd' ? parts.slice(0, Math.min(2, parts.length - 1)).join('/') : parts[0]!;
}

/** A relative specifier as a path from the repository's root. */
function resolvePath(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function checkPackage(path: string, specifier: string): Violation[] {
  if (specifier.startsWith('#')) return [`${path} imports ${specifier}: that door is for the tests`];
  const name = packageOf(specifier);
  const owner = PACKAGE_ROOMS[name];
  if (owner === undefined || owner === roomOf(path)) return [];
  return [`${path} imports ${specifier}: only ${owner} may import ${name}`];
}

function checkRoom(path: string, { specifier, isType }: ImportLine): Violation[] {
  const target = resolvePath(path, specifier);
  // Its own version number is the one thing that nbdelta reads from outside.
  if (SHIPPED.has(target)) return [];
  if (!target.startsWith('src/')) return [`${path} imports ${specifier}: outside of src`];
  const [from, to] = [roomOf(path), roomOf(target)];
  if (from === to || (from === 'index' && isType)) return [];
  if (ROOMS[from]?.includes(to) === true) return [];
  return [`${path} imports ${specifier}: ${from} may not import ${to}`];
}

function checkSource(path: string, source: string): Violation[] {
  const violations = readImports(source).flatMap(line =>
    line.specifier.startsWith('.') ? checkRoom(path, line) : checkPackage(path, line.specifier),
  );
  if (!Object.hasOwn(ROOMS, roomOf(path))) violations.unshift(`${path} is in no room`);
  const name = path.split('/').at(-1)!.replace(/\.ts$/, '');
  if (MEANINGLESS_NAMES.has(name)) violations.unshift(`${path} holds several things: name each`);
  return violations;
}

function checkBin(path: string, source: string): Violation[] {
  return readImports(source)
    .filter(({ specifier }) => !specifier.startsWith('node:'))
    .filter(({ specifier }) => !resolvePath(path, specifier).startsWith('dist/bundle/'))
    .map(({ specifier }) => `${path} imports ${specifier}: bin may import dist/bundle only`);
}

/** All violations of a tree of `src/**` and `bin/**`; none when it is in order. */
export function checkRooms(tree: SourceTree): readonly Violation[] {
  return [...tree].flatMap(([path, source]) =>
    path.startsWith('bin/') ? checkBin(path, source) : checkSource(path, source),
  );
}
