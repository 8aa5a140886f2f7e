import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { QmpObject } from './qmp.js';

/** A monitor that says what a script makes it say. */
export interface ScriptedQmp extends AsyncDisposable {
  readonly path: string;
  /** Commands that came, without qmp_capabilities and questions. */
  readonly commands: readonly string[];
  /** Sends an event to whoever is connected. */
  emit(event: string, data?: QmpObject): void;
}

/** What a command is answered with. `Error`: refused with its message. */
export type Answer = (command: string, args: QmpObject) => unknown;

/** Serves a monitor at `path` that greets as QEMU 7.2 does. */
export async function startScriptedQmp(path: string, answer: Answer): Promise<ScriptedQmp> {
  const commands: string[] = [];
  const sockets = new Set<Socket>();
  const say = (socket: Socket, message: object) => socket.write(`${JSON.stringify(message)}\r\n`);
  const server = createServer(socket => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    const qemu = { major: 7, minor: 2, micro: 0 };
    say(socket, { QMP: { version: { qemu, package: '' }, capabilities: [] } });
    createInterface({ input: socket }).on('line', line => {
      const sent = JSON.parse(line) as { execute: string; arguments: QmpObject; id: string };
      const { execute, id } = sent;
      if (execute === 'qmp_capabilities') return say(socket, { return: {}, id });
      if (!execute.startsWith('query-')) commands.push(execute);
      const value = answer(execute, sent.arguments);
      if (!(value instanceof Error)) return say(socket, { return: value, id });
      return say(socket, { error: { class: 'GenericError', desc: value.message }, id });
    });
  });
  await new Promise<void>(resolve => server.listen(path, resolve));
  return {
    path,
    commands,
    emit(event, data = {}) {
      for (const socket of sockets) say(socket, { event, data, timestamp: { seconds: 1, microseconds: 0 } });
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
