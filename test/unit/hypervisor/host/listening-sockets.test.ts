import { expect, it } from 'vitest';
import { servedRuns } from '#nbdelta/hypervisor/host/listening-sockets.js';

const RUN = 'nbdelta-0123abcd-20260102T030405Z-89abcdef';

it('a socket in a folder called like a run, wherever that is, tells that the run is alive', () => {
  const sockets = ['/run/dbus', `/run/nbdelta/${RUN}/s`, `/tmp/${RUN}.d/s`, `/tmp/${RUN}`, '@abstract', ''];
  expect([...servedRuns(sockets)]).toEqual([RUN]);
  expect([...servedRuns([`/elsewhere/${RUN}/vda.sock`])]).toEqual([RUN]);
});
