import { type ErrorCode, HypervisorError, printable } from '../../errors.js';

/** QEMU answered a command with an error; the connection goes on. */
export class QmpCommandError extends HypervisorError {
  readonly command: string;
  readonly errorClass: string;
  /** QEMU's own words. */
  readonly text: string;

  constructor(command: string, errorClass: string, text: string) {
    const [code, hint] = meaningOf(errorClass, text);
    super(code, `QEMU refused ${command}: ${printable(text)}`, {
      ...(hint === undefined ? {} : { hint }),
      fields: { command, class: errorClass },
    });
    this.command = command;
    this.errorClass = errorClass;
    this.text = text;
  }
}

/** The connection ended in the middle: because QEMU did, or the monitor was taken from us. */
export class QmpLostError extends HypervisorError {
  constructor(path: string, cause?: unknown) {
    super('HYPERVISOR_UNREACHABLE', `the connection to the QMP socket ${path} ended`, {
      cause,
      hint: 'QEMU may have ended',
    });
  }
}

/** Nobody listens at the QMP socket: the QEMU that did is gone, with every job, node and export that it had. */
export class QemuGoneError extends HypervisorError {
  constructor(message: string, cause?: unknown) {
    super('HYPERVISOR_UNREACHABLE', message, {
      cause,
      hint: 'is the guest running, and is this the socket of its -qmp option?',
    });
  }
}

/**
 * Nearly all of QEMU's errors are of class GenericError, so that the text is all there is to tell them by. A text
 * that is not known is HYPERVISOR_FAILED, with QEMU's words.
 */
function meaningOf(errorClass: string, text: string): readonly [ErrorCode, string | undefined] {
  if (errorClass === 'CommandNotFound') return ['HYPERVISOR_TOO_OLD', 'a newer QEMU is needed'];
  if (/in use by block job|is busy: |NBD server already running|already exists|Duplicate nodes/.test(text)) {
    return ['JOB_CONFLICT', 'something else works on this guest: let it finish, or end it, and try again'];
  }
  if (/Permission denied|Operation not permitted/.test(text)) {
    return [
      'HYPERVISOR_DENIED',
      "QEMU's user must be able to use that place; AppArmor or SELinux may forbid it",
    ];
  }
  if (/No space left on device|Disk quota exceeded/.test(text)) {
    return ['SCRATCH_FULL', 'choose a scratch folder with more space'];
  }
  return ['HYPERVISOR_FAILED', undefined];
}
