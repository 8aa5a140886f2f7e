/** One backup through the library: `node bench/backup-export.mjs REPOSITORY URI full|incremental [BITMAP]`. */
import { backup } from '#nbdelta/index.js';

const [repository, uri, level, bitmap] = process.argv.slice(2);
await backup({
  repository,
  machine: 'bench',
  disks: [{ name: 'disk', uri, bitmap }],
  level,
  codec: 'zstd:1',
  ...(level === 'incremental' && { since: 'latest' }),
});
