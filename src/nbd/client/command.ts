import { NbdCommandError, NbdConnectionError, printable } from '../../errors.js';
import {
  COMMAND_NAMES,
  errnoName,
  NBD_CMD_FLUSH,
  NBD_ENOMEM,
  NBD_ENOSPC,
  NBD_EPERM,
  NBD_ESHUTDOWN,
} from '../protocol/constants.js';
import type { ExpectedReply } from '../protocol/reply-stream.js';
import { Coverage } from './coverage.js';
import type { StatusRun } from './status-run.js';

/** A command in flight and the promise of its caller. */
export interface Command extends ExpectedReply {
  readonly cookie: number;
  readonly sentAt: number;
  /** READ: where the data goes. */
  readonly target: Uint8Array | undefined;
  readonly coverage: Coverage;
  /** BLOCK_STATUS: what came, by meta context id. */
  readonly status: Map<number, StatusRun>;
  /** First error of the reply; the reply may go on after it. */
  error: NbdCommandError | undefined;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** What a caller asks a connection to do. Bytes. */
export interface CommandRequest {
  readonly type: number;
  readonly offset: number;
  readonly length: number;
  readonly flags?: number;
  readonly target?: Uint8Array;
  readonly data?: Uint8Array;
}

/** Makes the record of a command about to be sent. */
export function newCommand(
  request: CommandRequest,
  cookie: number,
  settle: { resolve: () => void; reject: (error: Error) => void },
): Command {
  return {
    type: request.type,
    offset: request.offset,
    length: request.length,
    cookie,
    sentAt: performance.now(),
    target: request.target,
    coverage: new Coverage(),
    status: new Map(),
    error: undefined,
    ...settle,
  };
}

/** `NBD_CMD_READ 0+4096 of export "vda"`: every error of a command starts so. */
export function describeCommand(command: ExpectedReply, exportName: string): string {
  const name = COMMAND_NAMES[command.type] ?? `command ${command.type}`;
  const range = command.type === NBD_CMD_FLUSH ? '' : ` ${command.offset}+${command.length}`;
  return `${name}${range} of export "${exportName}"`;
}

function commandFields(command: ExpectedReply, exportName: string) {
  return {
    export: exportName,
    command: COMMAND_NAMES[command.type] ?? command.type,
    offset: command.offset,
    length: command.length,
  };
}

const ERRNO_HINTS: Readonly<Record<number, string>> = {
  [NBD_EPERM]: 'the export does not allow it (read-only?)',
  [NBD_ENOSPC]: 'the storage behind the export is full, or too small',
  [NBD_ENOMEM]: 'the server is short of memory',
  [NBD_ESHUTDOWN]: 'the server is shutting down: was the backup job ended?',
};

/** The server failed this one command; everything else goes on. */
export function commandFailed(
  command: ExpectedReply,
  exportName: string,
  errno: number,
  message: string,
  at: number | undefined,
): NbdCommandError {
  const where = at === undefined ? '' : ` at ${at}`;
  const said = message ? ` ("${printable(message)}")` : '';
  return new NbdCommandError(
    `${describeCommand(command, exportName)} failed${where}: ${errnoName(errno)}${said}`,
    errno,
    {
      hint: ERRNO_HINTS[errno] ?? "see the server's log and the storage behind the export",
      fields: { ...commandFields(command, exportName), errno, errnoName: errnoName(errno) },
    },
  );
}

/** The connection died under this command; each command gets an object of its own. */
export function commandLost(
  command: ExpectedReply,
  exportName: string,
  server: string,
  cause: Error,
): NbdConnectionError {
  const known = cause instanceof NbdConnectionError ? cause : undefined;
  return new NbdConnectionError(
    known?.code ?? 'NBD_CONNECTION_LOST',
    `${describeCommand(command, exportName)}: connection to ${server} lost: ${cause.message}`,
    {
      cause,
      hint: known?.hint ?? 'the server ended or the backup job was stopped: what was read may be incomplete',
      retryable: known?.retryable ?? true,
      fields: commandFields(command, exportName),
    },
  );
}
