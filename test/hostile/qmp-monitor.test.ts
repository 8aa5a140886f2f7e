/** Monitors that do not serve us, and what is no monitor at all. */

import { writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { QmpClient } from '#nbdelta/hypervisor/qmp/qmp-client.js';
import { QmpFrontEnd } from '#nbdelta/hypervisor/qmp/qmp-front-end.js';
import { parseSource } from '#nbdelta/hypervisor/source.js';
import { type TempFolder, tempFolder } from '../support/temp-folder.js';
import { expectNoHandlesLeft } from './hostile-client.js';

expectNoHandlesLeft();

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\r\n';
const IMPATIENT = { greetingTimeoutMs: 200, commandTimeoutMs: 200 };

interface Command {
  readonly execute: string;
  readonly id: string;
}

let folder: TempFolder;
let server: Server | undefined;

beforeEach(async () => {
  folder = await tempFolder();
});
afterEach(async () => {
  await new Promise(resolve => (server === undefined ? resolve(undefined) : server.close(resolve)));
  server = undefined;
  await folder[Symbol.asyncDispose]();
});

/** Serves a script at the folder's `qmp.sock`. */
async function serve(script: (socket: Socket) => void): Promise<string> {
  const path = folder.file('qmp.sock');
  server = createServer(socket => {
    socket.on('error', () => undefined);
    script(socket);
  });
  await new Promise<void>(resolve => server!.listen(path, resolve));
  return path;
}

/** Greets, lets the client leave the negotiation, and gives `answer` the commands after that. */
function serveCommands(answer: (socket: Socket, command: Command) => void): Promise<string> {
  return serve(socket => {
    socket.write(GREETING);
    createInterface({ input: socket }).on('line', line => {
      const command = JSON.parse(line) as Command;
      if (command.execute === 'qmp_capabilities')
        socket.write(`${JSON.stringify({ return: {}, id: command.id })}\r\n`);
      else answer(socket, command);
    });
  });
}

const opening = (path: string) => QmpClient.open(path, IMPATIENT);

describe('a monitor that', () => {
  it('never greets, because it serves somebody else, is said to do so', async () => {
    const path = await serve(() => undefined);
    await expect(opening(path)).rejects.toMatchObject({
      code: 'HYPERVISOR_UNREACHABLE',
      message: expect.stringContaining('0.2 s'),
      hint: expect.stringContaining('one client at a time'),
      retryable: true,
    });
  });

  it.each([
    ['a human monitor', "QEMU 7.2.0 monitor - type 'help' for more information\r\n(qemu) "],
    ['another protocol', 'SSH-2.0-OpenSSH_9.2p1\r\n'],
    ['JSON of another kind', '{"hello": 1}\n'],
    ['JSON that is no object', '[1, 2]\n'],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00, 0x0a])],
  ])('is %s is called none', async (_, bytes) => {
    const path = await serve(socket => void socket.write(bytes));
    await expect(opening(path)).rejects.toMatchObject({
      code: 'HYPERVISOR_UNREACHABLE',
      message: expect.stringContaining('does not speak QMP'),
      hint: expect.stringContaining('-qmp'),
    });
  });

  it('hangs up before it has greeted ends the wait', async () => {
    const path = await serve(socket => void socket.end());
    await expect(opening(path)).rejects.toMatchObject({ code: 'HYPERVISOR_UNREACHABLE' });
  });

  it('does not answer a command costs that time, and the connection', async () => {
    const path = await serveCommands(() => undefined);
    await using client = await opening(path);
    const asked = [client.execute('query-jobs'), client.execute('query-block')];
    const seen = await Promise.allSettled(asked);
    expect(seen).toMatchObject([
      {
        status: 'rejected',
        reason: { code: 'HYPERVISOR_UNREACHABLE', message: expect.stringContaining('query-jobs') },
      },
      { status: 'rejected', reason: { code: 'HYPERVISOR_UNREACHABLE' } },
    ]);
    await expect(client.execute('query-jobs')).rejects.toMatchObject({ code: 'HYPERVISOR_UNREACHABLE' });
  });

  it('gives us the answers of a client before us is not misunderstood', async () => {
    const path = await serveCommands((socket, { id }) => {
      for (const old of [{ return: 'old' }, { return: 'old', id: 2 }, { return: 'old', id: '2' }]) {
        socket.write(`${JSON.stringify(old)}\r\n`);
      }
      socket.write('{"error": {"class": "GenericError", "desc": "old"}}\r\n');
      socket.write(`${JSON.stringify({ return: 'new', id })}\r\n`);
    });
    await using client = await opening(path);
    expect(await client.execute('query-jobs')).toBe('new');
  });

  it('answers in another order, with events in between, is understood', async () => {
    const waiting: Command[] = [];
    const path = await serveCommands((socket, command) => {
      if (waiting.push(command) < 3) return;
      for (const { execute, id } of waiting.reverse()) {
        socket.write('{"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}}\r\n');
        socket.write(`${JSON.stringify({ return: execute, id })}\r\n`);
      }
    });
    await using client = await opening(path);
    const events: string[] = [];
    using _listening = client.onEvent(({ name }) => events.push(name));
    const commands = ['query-jobs', 'query-block', 'query-name'];
    expect(await Promise.all(commands.map(command => client.execute(command)))).toEqual(commands);
    expect(events).toEqual(['RESUME', 'RESUME', 'RESUME']);
  });

  it('answers with something else than was asked for is told, in one line', async () => {
    const path = await serveCommands((socket, { execute, id }) => {
      const value = execute === 'query-status' ? { status: 7 } : [{ id: 1 }];
      socket.write(`${JSON.stringify({ return: value, id })}\r\n`);
    });
    await using frontEnd = new QmpFrontEnd([{ disk: undefined, source: parseSource(`qmp:${path}`) }], {});
    await expect(frontEnd.listCheckpoints()).rejects.toMatchObject({
      code: 'HYPERVISOR_FAILED',
      message: expect.stringMatching(/^QEMU's answer to query-named-block-nodes is not as expected: [^\n]+$/),
    });
  });

  it('has none of the commands that are needed is too old, and they are named', async () => {
    const path = await serveCommands((socket, { execute, id }) => {
      const value = execute === 'query-qmp-schema' ? [] : {};
      socket.write(`${JSON.stringify({ return: value, id })}\r\n`);
    });
    await using frontEnd = new QmpFrontEnd([{ disk: undefined, source: parseSource(`qmp:${path}`) }], {});
    await expect(frontEnd.inspect({})).rejects.toMatchObject({
      code: 'HYPERVISOR_TOO_OLD',
      message: expect.stringContaining('block-export-add (QEMU 5.2)'),
    });
  });

  it('sends a line without an end does not fill the memory', async () => {
    let sent = 0;
    const path = await serve(socket => {
      socket.write(GREETING);
      const more = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(1 << 20, 0x20))) sent += 1 << 20;
      };
      socket.on('drain', more);
      more();
    });
    const open = QmpClient.open(path, { commandTimeoutMs: 20_000 });
    await expect(open).rejects.toMatchObject({
      message: expect.stringContaining('more than 67108864 bytes'),
    });
    expect(sent).toBeLessThan(256 << 20);
  });
});

describe('a place that', () => {
  it('is not there', async () => {
    await expect(opening(folder.file('nothing'))).rejects.toMatchObject({
      code: 'HYPERVISOR_UNREACHABLE',
      message: expect.stringContaining('there is no QMP socket'),
    });
  });

  it('is a file', async () => {
    await writeFile(folder.file('file'), 'x');
    await expect(opening(folder.file('file'))).rejects.toMatchObject({
      code: 'HYPERVISOR_UNREACHABLE',
      message: expect.stringContaining('is no socket'),
    });
  });

  it('nobody listens at any more', async () => {
    const path = await serve(() => undefined);
    const { rename } = await import('node:fs/promises');
    await rename(path, folder.file('stale'));
    await new Promise(resolve => server!.close(resolve));
    server = undefined;
    await expect(opening(folder.file('stale'))).rejects.toMatchObject({
      code: 'HYPERVISOR_UNREACHABLE',
      message: expect.stringContaining('nobody listens'),
    });
  });

  it('is asked for by somebody who gives up is left at once', async () => {
    const path = await serve(() => undefined);
    const controller = new AbortController();
    const open = QmpClient.open(path, { signal: controller.signal });
    setImmediate(() => controller.abort());
    await expect(open).rejects.toMatchObject({ code: 'ABORTED' });
  });
});
