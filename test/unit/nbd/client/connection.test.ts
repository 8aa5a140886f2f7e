import { describe, expect, it } from 'vitest';
import { Connection } from '#nbdelta/nbd/client/connection.js';
import type { ExportInfo } from '#nbdelta/nbd/client/negotiate.js';
import { type ByteSink, feed } from '#nbdelta/nbd/protocol/byte-sink.js';
import type { BytePipe } from '#nbdelta/nbd/transport/byte-pipe.js';
import { dataHead } from '../../../support/scripted-nbd.js';
import { wire } from '../../../support/wire-bytes.js';

const INFO: ExportInfo = {
  exportName: 'disk',
  size: 1 << 20,
  flags: 1,
  blockSize: { minimum: 1, preferred: 4096, maximum: 1 << 25 },
  blockSizeAdvertised: false,
  canonicalName: undefined,
  description: undefined,
  replyMode: 'structured',
  contexts: new Map(),
};

/** A pipe whose socket closes when the test says so. */
class HeldPipe implements BytePipe {
  readonly description = 'a held pipe';
  readonly sent: Buffer[] = [];
  sink: ByteSink | undefined;
  fail: (error: Error) => void = () => undefined;
  close: () => void = () => undefined;
  readonly #closed = new Promise<void>(resolve => {
    this.close = resolve;
  });

  attach(sink: ByteSink, onEnd: (error: Error) => void): void {
    this.sink = sink;
    this.fail = onEnd;
  }

  write(chunks: readonly Uint8Array[]): Promise<void> {
    this.sent.push(Buffer.concat(chunks));
    return Promise.resolve();
  }

  end(): Promise<void> {
    return this.#closed;
  }

  destroy(): Promise<void> {
    return this.#closed;
  }
}

const turns = () => new Promise(resolve => setTimeout(resolve, 5));

describe('Connection', () => {
  it.each([
    ['dies', (pipe: HeldPipe) => pipe.fail(new Error('reset'))],
    ['is closed by us', (_pipe: HeldPipe, connection: Connection) => void connection.close()],
  ])(
    'that %s settles its commands only when the socket is closed: until then it may write',
    async (_name, stop) => {
      const pipe = new HeldPipe();
      const connection = new Connection({ pipe, info: INFO }, 60_000);
      const settled: string[] = [];
      const target = Buffer.alloc(8);
      const read = connection
        .run({ type: 0, offset: 0, length: 8, target })
        .catch((error: { code: string }) => settled.push(error.code));
      feed(pipe.sink!, wire(dataHead(1, true, 0, 8), '41424344'));
      stop(pipe, connection);
      await turns();
      expect(settled).toEqual([]);
      expect(connection.alive).toBe(false);
      await expect(connection.run({ type: 3, offset: 0, length: 0 })).rejects.toMatchObject({
        code: 'NBD_CONNECTION_LOST',
      });
      pipe.close();
      await read;
      expect(settled).toEqual(['NBD_CONNECTION_LOST']);
      expect(connection.bytesInFlight).toBe(0);
      await connection.close();
    },
  );

  it('says goodbye with NBD_CMD_DISC, once', async () => {
    const pipe = new HeldPipe();
    const connection = new Connection({ pipe, info: INFO }, 60_000);
    pipe.close();
    await Promise.all([connection.close(), connection.close()]);
    expect(pipe.sent).toEqual([wire('25609513 0000 0002', '00'.repeat(20))]);
  });
});
