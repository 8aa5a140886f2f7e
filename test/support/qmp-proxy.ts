import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** What a proxy makes of a command: passes it on, answers it with an error, or cuts the connection before or after it. */
export type Interference = 'pass' | 'refuse' | 'cut-before' | 'cut-after';

/** A QMP socket in front of QEMU's, that may interfere. */
export interface QmpProxy extends AsyncDisposable {
  readonly path: string;
  /** Commands that came so far. */
  readonly commands: readonly string[];
}

/** Serves `path`; `interfere` is asked for each command, with its number. */
export async function startQmpProxy(
  path: string,
  target: string,
  interfere: (command: string, index: number) => Interference,
): Promise<QmpProxy> {
  const commands: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer(client => {
    const qemu = connect(target);
    const both = [client, qemu];
    const cut = () => both.forEach(socket => void socket.destroy());
    for (const socket of both) {
      sockets.add(socket);
      socket.on('error', cut).on('close', cut);
    }
    qemu.pipe(client);
    createInterface({ input: client }).on('line', line => {
      const { execute, id } = JSON.parse(line) as { readonly execute: string; readonly id: string };
      const what = interfere(execute, commands.push(execute) - 1);
      if (what === 'cut-before') cut();
      else if (what === 'refuse') {
        const error = { class: 'GenericError', desc: `the proxy refuses ${execute}` };
        client.write(`${JSON.stringify({ id, error })}\r\n`);
      } else qemu.write(`${line}\n`, what === 'cut-after' ? () => void qemu.once('data', cut) : undefined);
    });
  });
  await new Promise<void>(resolve => server.listen(path, resolve));
  return {
    path,
    commands,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise(resolve => server.close(resolve));
    },
  };
}
