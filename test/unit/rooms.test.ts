/** The rooms of src/ and who may import whom. The checker is tested too: it must see every kind of violation. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { checkRooms, readImports } from '../support/room-rules.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function readTree(): Map<string, string> {
  const tree = new Map<string, string>();
  for (const folder of ['src', 'bin'].filter(name => existsSync(join(ROOT, name)))) {
    const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
    for (const name of names.filter(file => /\.[jt]s$/.test(file))) {
      tree.set(`${folder}/${name}`, readFileSync(join(ROOT, folder, name), 'utf8'));
    }
  }
  return tree;
}

function check(path: string, source: string): readonly string[] {
  return checkRooms(new Map([[path, source]]));
}

describe('rooms', () => {
  it('are kept by every file of src and bin', () => {
    const tree = readTree();
    expect(tree.has('src/errors.ts')).toBe(true);
    expect(checkRooms(tree)).toEqual([]);
  });

  it('show a violation that is added to the real tree', () => {
    const tree = readTree();
    tree.set(
      'src/extents/extent-list.ts',
      `import { X } from '../codec/x.js';\n${tree.get('src/extents/extent-list.ts')}`,
    );
    expect(checkRooms(tree)).toContain(
      'src/extents/extent-list.ts imports ../codec/x.js: extents may not import codec',
    );
  });
});

describe('the checker of the rooms', () => {
  it.each([
    ['src/errors.ts', "import { X } from './extents/x.js';", 'errors may not import extents'],
    [
      'src/nbd/server/serve.ts',
      "import { X } from '../client/x.js';",
      'nbd/server may not import nbd/client',
    ],
    [
      'src/nbd/protocol/x.ts',
      "import { X } from '../transport/x.js';",
      'nbd/protocol may not import nbd/transport',
    ],
    [
      'src/nbd/client/deep/x.ts',
      "import { X } from '../../server/x.js';",
      'nbd/client may not import nbd/server',
    ],
    [
      'src/archive/v1/x.ts',
      "export { X } from '../../repository/x.js';",
      'archive may not import repository',
    ],
    ['src/codec/x.ts', "export * from '../extents/x.js';", 'codec may not import extents'],
    ['src/codec/x.ts', "import type { X } from '../extents/x.js';", 'codec may not import extents'],
    ['src/codec/x.ts', "const x = await import('../extents/x.js');", 'codec may not import extents'],
    [
      'src/codec/x.ts',
      "new Worker(new URL('../archive/x.js', import.meta.url));",
      'codec may not import archive',
    ],
    ['src/codec/x.ts', "import '../archive/x.js';", 'codec may not import archive'],
    ['src/codec/x.ts', 'import {\n  X,\n  Y,\n} from "../archive/x.js";', 'codec may not import archive'],
    ['src/cli/x.ts', "import type { X } from '../archive/x.js';", 'cli may not import archive'],
    ['src/operations/x.ts', "import { X } from '../cli/x.js';", 'operations may not import cli'],
    ['src/operations/x.ts', "import { X } from '../index.js';", 'operations may not import index'],
    ['src/index.ts', "export { X } from './archive/x.js';", 'index may not import archive'],
    ['src/codec/x.ts', "import { X } from '../../test/support/x.js';", 'outside of src'],
    ['src/codec/x.ts', "import { X } from '../../dist/codec/y.js';", 'outside of src'],
    ['src/codec/x.ts', "import { X } from '#nbdelta/errors.js';", 'that door is for the tests'],
    ['src/archive/x.ts', "import { X } from 'zstd-napi';", 'only codec may import zstd-napi'],
    ['src/archive/x.ts', "import { X } from 'zstd-napi/binding';", 'only codec may import zstd-napi'],
    ['src/archive/x.ts', "const x = require('zstd-napi');", 'only codec may import zstd-napi'],
    ['src/codec/utils.ts', '', 'holds several things: name each'],
    ['src/archive/v1/common.ts', '', 'holds several things: name each'],
    ['src/misc/x.ts', '', 'is in no room'],
    ['src/nbd/x.ts', '', 'is in no room'],
    ['src/version.ts', '', 'is in no room'],
    ['bin/nbdelta.js', "import { X } from '../dist/operations/x.js';", 'bin may import dist/bundle only'],
    ['bin/nbdelta.js', "import { X } from 'commander';", 'bin may import dist/bundle only'],
  ])('%s: %j is refused', (path, source, reason) => {
    const violations = check(path, source);
    expect(violations).toHaveLength(1);
    expect(violations[0]).toContain(reason);
  });

  it.each([
    ['src/archive/v1/x.ts', "import { X } from '../../codec/x.js';"],
    ['src/archive/v1/x.ts', "import { X } from '../v2/x.js';"],
    ['src/nbd/client/deep/x.ts', "import { X } from '../../protocol/x.js'; import { Y } from '../y.js';"],
    ['src/codec/x.ts', "import { X } from 'zstd-napi/binding';"],
    ['src/archive/x.ts', "import { X } from 'tar-stream'; import { Y } from 'node:fs';"],
    ['src/codec/x.ts', "// import { X } from '../archive/x.js';\n/** import '../archive/x.js'; */\n"],
    ['src/codec/x.ts', "const uri = 'nbd://host'; const text = 'import of disks';"],
    ['src/index.ts', "export type { X } from './archive/x.js';\nexport { Y } from './operations/y.js';"],
    ['src/operations/x.ts', "import { X } from '../hypervisor/x.js';"],
    ['src/operations/x.ts', "readFileSync(new URL('../../package.json', import.meta.url))"],
    ['bin/nbdelta.js', "import { main } from '../dist/bundle/main.js';"],
  ])('%s: %j is in order', (path, source) => {
    expect(check(path, source)).toEqual([]);
  });

  it('tells types from values', () => {
    const source =
      "import type { A } from './a.js';\nimport { type B } from './b.js';\nexport type { C } from './c.js';";
    expect(readImports(source)).toEqual([
      { specifier: './a.js', isType: true },
      { specifier: './b.js', isType: false },
      { specifier: './c.js', isType: true },
    ]);
  });

  it('is not fooled by code between an export and a later import', () => {
    const source = "export type X = { a: 1 };\nexport const y = 2;\nimport { Z } from './z.js';";
    expect(readImports(source)).toEqual([{ specifier: './z.js', isType: false }]);
  });
});
