/**
 * The one error tree. `docs/errors.md` says why it looks like this.
 *
 * Three fates of an NBD error, never mixed:
 * - {@link NbdCommandError}: this command failed; the connection goes on.
 * - {@link NbdConnectionError}: this connection is dead; every command in flight gets an error of its own.
 * - {@link UsageError}: the caller made a mistake; nothing was sent.
 */

/** Stable error codes: part of the interface. A code is never renamed; new ones may be added. */
export const ERROR_CODES = {
  USAGE: 'the caller made a mistake; nothing was sent or changed',
  ABORTED: 'stopped on request (signal or AbortSignal)',
  INTERNAL: 'a defect in nbdelta itself',

  NBD_URI_INVALID: 'not a valid NBD URI',
  NBD_CONNECT_FAILED: 'no connection to the NBD server',
  NBD_HANDSHAKE_FAILED: 'the server does not speak a handshake that nbdelta understands',
  NBD_OLDSTYLE: 'the server speaks the obsolete oldstyle handshake',
  NBD_OPTION_REFUSED: 'the server refused an option during negotiation',
  NBD_EXPORT_UNKNOWN: 'the server has no export of that name',
  NBD_TLS_REQUIRED: 'the server demands TLS',
  NBD_TLS_FAILED: 'TLS was asked for and could not be established or verified',
  NBD_CONTEXT_MISSING: 'a meta context (bitmap) was asked for and not granted',
  NBD_COMMAND_FAILED: 'the server answered a command with an error',
  NBD_CONNECTION_LOST: 'the connection ended while commands were in flight',
  NBD_PROTOCOL: 'the server broke the protocol; the stream is out of step',
  NBD_TIMEOUT: 'the server did not answer in time',
  NBD_EXPORT_CHANGED: 'after a reconnect the export is not the same any more',
  NBD_LISTEN_FAILED: 'the NBD server cannot listen at that address',

  REPOSITORY_MISSING: 'there is no repository at that place',
  REPOSITORY_INVALID: 'the place is not a repository, or its description is damaged',
  FORMAT_UNSUPPORTED: 'written by a newer version: unknown format or required feature',
  MACHINE_UNKNOWN: 'the repository has no such machine',
  MACHINE_MISMATCH: 'another guest of the same name: the identity differs',
  POINT_UNKNOWN: 'the machine has no such point',
  POINT_AMBIGUOUS: 'more than one point fits',
  POINT_EXISTS: 'the point was committed by somebody else in the meantime',
  DISK_UNKNOWN: 'the point has no such disk',
  FILE_SYSTEM_UNKNOWN: 'the point has no such file system, none that can be read, or more than one',
  FILE_UNKNOWN: 'the file system in the point has no such file',
  LOCKED: 'another operation works on this machine',
  LOCK_LOST: 'the lock was taken over while the operation ran',

  CHAIN_MISSING: 'a point that this one builds on is missing',
  CHAIN_TORN: 'an archive of the chain is incomplete: a file is missing or too short',
  CHAIN_FOREIGN: 'a file of the chain belongs to another archive, disk or machine',
  CHAIN_ORDER: 'the chain is out of order: the bitmap does not reach back to the parent point',
  DATA_DAMAGED: 'stored data does not match its digest',
  DATA_DIFFERS: 'a point does not hold what an export holds',

  TARGET_EXISTS: 'the restore target exists already',
  TARGET_INVALID: 'the restore target cannot be used',
  STORAGE_FAILED: 'the storage refused to read or write',
  TOOL_MISSING: 'a program that this needs is not installed or failed',
  PARTIAL: 'committed, but not every disk is in the point',

  GUEST_UNKNOWN: 'the hypervisor has no such guest, or the guest no such disk; or there is no such image',
  GUEST_STATE: 'the guest is in a state in which this cannot be done',
  IMAGE_IN_USE: 'the image is open in another process',
  HYPERVISOR_UNREACHABLE: 'no answer from the hypervisor: libvirt, or the QMP socket',
  HYPERVISOR_TOO_OLD: 'this libvirt or QEMU cannot do what is needed',
  HYPERVISOR_DENIED: 'the hypervisor does not let us',
  HYPERVISOR_FAILED: 'the hypervisor refused a command',
  JOB_CONFLICT: "somebody else's job, bitmap or checkpoint is in the way; it was not touched",
  JOB_LOST: 'the backup job ended, or is not the same any more: what was read may be of another time',
  CONFIRM_REFUSED: 'the command of --confirm did not vouch for the job',
  SCRATCH_FULL: 'too little space for the scratch files: the job was ended before the guest suffered',
  AGENT_FAILED: 'the guest agent did not answer, or refused to freeze the file systems',
  HOOK_FAILED: 'a hook ended with an error',
  SESSION_UNKNOWN: 'there is no such session',
  UNFIT: 'the doctor found that this guest cannot be backed up as it is',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Values that an error carries beside its message; all of them end up in `--json` output. */
export type ErrorFields = Readonly<Record<string, string | number | boolean | null | readonly string[]>>;

export interface ErrorOptions {
  readonly cause?: unknown;
  /** What the user can do about it: one sentence. */
  readonly hint?: string;
  /** Whether doing the same again, without changing anything, can succeed. */
  readonly retryable?: boolean;
  readonly fields?: ErrorFields;
}

/** Base of every error that nbdelta raises on purpose. Its message is one line, fit for a user. */
export class NbdeltaError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly retryable: boolean;
  readonly fields: ErrorFields;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
    this.fields = options.fields ?? {};
  }
}

/** The caller made a mistake: thrown before a byte is sent or a file is touched. */
export class UsageError extends NbdeltaError {
  constructor(message: string, options: ErrorOptions & { readonly code?: 'USAGE' | 'NBD_URI_INVALID' } = {}) {
    super(options.code ?? 'USAGE', message, options);
  }
}

/** What the hypervisor refused, lost or has not got; nothing of ours is left behind unless the message says so. */
export class HypervisorError extends NbdeltaError {}

/** Stopped on request. `cause` is the signal's reason. */
export class AbortedError extends NbdeltaError {
  /** What was left behind or not, in words; undefined when whoever throws cannot know. */
  readonly left: string | undefined;

  constructor(what: string, cause?: unknown, left?: string) {
    const message = left === undefined ? `${what}: stopped on request` : `stopped on request; ${left}`;
    super('ABORTED', message, { cause });
    this.left = left;
  }
}

/** Negotiation did not lead to the export that was asked for. */
export class NbdNegotiationError extends NbdeltaError {}

/** One command failed on the server; the connection and all other commands go on. */
export class NbdCommandError extends NbdeltaError {
  /** NBD error value (doc/proto.md "Error values"), e.g. 5 for NBD_EIO. */
  readonly errno: number;

  constructor(
    message: string,
    errno: number,
    options: ErrorOptions & { readonly code?: 'NBD_COMMAND_FAILED' } = {},
  ) {
    super('NBD_COMMAND_FAILED', message, options);
    this.errno = errno;
  }
}

export type ConnectionErrorCode =
  | 'NBD_CONNECT_FAILED'
  | 'NBD_CONNECTION_LOST'
  | 'NBD_PROTOCOL'
  | 'NBD_TIMEOUT'
  | 'NBD_EXPORT_CHANGED';

/** The connection is dead. Every command that was in flight gets its own object of this class. */
export class NbdConnectionError extends NbdeltaError {
  declare readonly code: ConnectionErrorCode;
  constructor(code: ConnectionErrorCode, message: string, options: ErrorOptions = {}) {
    super(code, message, options);
  }
}

/** The repository, a machine or a point in it is not there, not usable or not ours. */
export class RepositoryError extends NbdeltaError {}

/** A chain cannot be used: a link is missing, torn, foreign or out of order. */
export class ChainError extends NbdeltaError {}

/** Stored bytes do not match their digest. Never carries the bytes. */
export class DamagedError extends NbdeltaError {
  constructor(message: string, options: ErrorOptions = {}) {
    super('DATA_DAMAGED', message, options);
  }
}

/** The restore target cannot be used. */
export class TargetError extends NbdeltaError {}

/** Reads or writes of the storage backend or the local file system failed. */
export class StorageError extends NbdeltaError {
  constructor(message: string, options: ErrorOptions = {}) {
    super('STORAGE_FAILED', message, options);
  }
}

/** The line that a user sees for any thrown value: never a stack trace, never empty, never two lines. */
export function errorLine(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return printable(text.replace(/\s*\n\s*/g, ' '));
}

/** Text from a server or a file made harmless for a terminal: control characters become `?`. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}

/** `error` as an {@link NbdeltaError}; anything unknown becomes `INTERNAL` with the original as its cause. */
export function toNbdeltaError(error: unknown): NbdeltaError {
  if (error instanceof NbdeltaError) return error;
  return new NbdeltaError('INTERNAL', errorLine(error), { cause: error });
}
