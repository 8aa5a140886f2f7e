/** One restore through the library: `node bench/restore-point.mjs REPOSITORY TARGET`, the newest point. */
import { restore } from '#nbdelta/index.js';

const [repository, to] = process.argv.slice(2);
await restore({ repository, point: 'bench', disk: 'disk', to });
