/** Every single command of a job's beginning and end fails once, or is the last that QEMU hears: nothing stays. */

import { mkdir, readdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { QmpFrontEnd } from '#nbdelta/hypervisor/qmp/qmp-front-end.js';
import type { SessionRecord } from '#nbdelta/hypervisor/session-record.js';
import { parseSource } from '#nbdelta/hypervisor/source.js';
import { beginRequest, keptJournal } from '../support/front-end-requests.js';
import { describeWith } from '../support/peers.js';
import { createQcow2 } from '../support/qcow2-image.js';
import { type QemuFootprint, qemuFootprint } from '../support/qemu-footprint.js';
import { type QemuSystem, startQemuSystem } from '../support/qemu-system.js';
import { type Interference, startQmpProxy } from '../support/qmp-proxy.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';

const DISKS = ['vda', 'vdb'];

describeWith(['qemu-system-x86_64', 'qemu-img', 'stdbuf'], 'QMP front-end, interrupted', () => {
  let folder: TempFolder;
  let guest: QemuSystem;
  let before: QemuFootprint;
  let base: string;

  beforeAll(async () => {
    folder = await tempFolder();
    await mkdir(folder.file('scratch'));
    for (const disk of DISKS) await createQcow2(folder.file(`${disk}.qcow2`), 1 << 20);
    guest = await startQemuSystem({
      disks: DISKS.map(name => ({ name, image: folder.file(`${name}.qcow2`) })),
    });
    await using frontEnd = frontEndAt(guest.qmpSocket);
    const record = await frontEnd.begin(beginRequest());
    await frontEnd.end(record, 'commit');
    base = record.run;
    before = await qemuFootprint(guest.qmp);
  });
  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  function frontEndAt(socket: string): QmpFrontEnd {
    return new QmpFrontEnd([{ disk: undefined, source: parseSource(`qmp:${socket}`) }], {
      scratch: folder.file('scratch'),
      socketDir: folder.file('sockets'),
      scratchReserve: 0,
    });
  }

  /** Runs `work` on a front-end behind a proxy. */
  async function proxied<Result>(
    interfere: (command: string, index: number) => Interference,
    work: (frontEnd: QmpFrontEnd) => Promise<Result>,
  ) {
    await using proxy = await startQmpProxy(folder.file('proxy.qmp'), guest.qmpSocket, interfere);
    await using frontEnd = frontEndAt(proxy.path);
    return { result: await work(frontEnd), commands: proxy.commands };
  }

  async function expectNothingLeft(what: string): Promise<void> {
    expect(await qemuFootprint(guest.qmp), what).toEqual(before);
    const files = [...(await readdir(folder.file('scratch'))), ...(await readdir(folder.file('sockets')))];
    expect(files, what).toEqual([]);
    // Only a server that was stopped can be started again.
    const addr = { type: 'unix', data: { path: folder.file('other.sock') } };
    await guest.qmp.execute('nbd-server-start', { addr });
    await guest.qmp.execute('nbd-server-stop');
  }

  /** The commands of a whole beginning, to interfere with one after the other. */
  async function commandsOfBegin(): Promise<readonly string[]> {
    const { commands } = await proxied(
      () => 'pass',
      async frontEnd => {
        const record = await frontEnd.begin(beginRequest({ bases: [base] }));
        return await frontEnd.end(record, 'abort');
      },
    );
    return commands.slice(0, commands.lastIndexOf('block-export-add') + 3);
  }

  it('undoes a beginning that QEMU refuses at any command', async () => {
    const commands = await commandsOfBegin();
    expect(commands).toContain('transaction');
    for (const [index, command] of commands.entries()) {
      const what = `${index} ${command} refused`;
      let begun = false;
      const interfere = (_: string, current: number) => (current === index && !begun ? 'refuse' : 'pass');
      await proxied(interfere, async frontEnd => {
        await frontEnd.begin(beginRequest({ bases: [base] })).then(
          async record => {
            // How often QEMU is asked whether a job is done differs: the last commands may not come.
            begun = true;
            expect(index, what).toBeGreaterThan(commands.length - 8);
            await frontEnd.end(record, 'abort');
          },
          error => expect(error.message, what).toContain('the proxy refuses'),
        );
      });
      await expectNothingLeft(what);
    }
  });

  it.each(['cut-before', 'cut-after'] as const)(
    'can be ended with the journal alone when it was %s any command',
    async cut => {
      const commands = await commandsOfBegin();
      for (const [index, command] of commands.entries()) {
        const { records, journal } = keptJournal();
        const interfere = (_: string, current: number) => (current === index ? cut : 'pass');
        await proxied(interfere, async frontEnd => {
          const failed = await frontEnd.begin(beginRequest({ bases: [base], journal })).then(
            () => false,
            () => true,
          );
          // How often QEMU is asked whether a job is done differs: the last commands may not come.
          expect(failed || index > commands.length - 8, `${cut} ${index} ${command}`).toBe(true);
        });
        await using later = frontEndAt(guest.qmpSocket);
        for (const record of records.slice(-1)) await later.end(record, 'abort');
        await expectNothingLeft(`${cut} ${index} ${command}`);
      }
    },
  );

  it('ends a job although its end was cut off at any command', async () => {
    const begin = async (): Promise<SessionRecord> => {
      await using frontEnd = frontEndAt(guest.qmpSocket);
      return await frontEnd.begin(beginRequest({ bases: [base] }));
    };
    const record = await begin();
    const { commands } = await proxied(
      () => 'pass',
      frontEnd => frontEnd.end(record, 'abort'),
    );
    for (const [index, command] of commands.entries()) {
      const started = await begin();
      // The front-end connects again, and finds what it had done.
      const interfere = (_: string, current: number) => (current === index ? 'cut-after' : 'pass');
      await proxied(interfere, frontEnd => frontEnd.end(started, 'abort'));
      await expectNothingLeft(`${index} ${command}`);
    }
  });
});
