import type { ErrorCode } from '../errors.js';

/** Everything was done. */
export const EXIT_OK = 0;
export const EXIT_USAGE = 2;
export const EXIT_SIGINT = 130;
export const EXIT_SIGTERM = 143;

/** Exit code of every error; stable, written down in `docs/exit-codes.md`. A number may stand for several codes. */
export const EXIT_CODES = {
  INTERNAL: 1,
  USAGE: EXIT_USAGE,
  NBD_URI_INVALID: EXIT_USAGE,

  NBD_CONNECT_FAILED: 3,
  NBD_HANDSHAKE_FAILED: 3,
  NBD_OLDSTYLE: 3,
  NBD_OPTION_REFUSED: 3,
  NBD_LISTEN_FAILED: 3,
  NBD_TLS_REQUIRED: 4,
  NBD_TLS_FAILED: 4,
  NBD_EXPORT_UNKNOWN: 5,
  NBD_CONTEXT_MISSING: 6,
  NBD_COMMAND_FAILED: 7,
  NBD_CONNECTION_LOST: 7,
  NBD_PROTOCOL: 7,
  NBD_TIMEOUT: 7,
  NBD_EXPORT_CHANGED: 7,

  REPOSITORY_MISSING: 10,
  REPOSITORY_INVALID: 10,
  FORMAT_UNSUPPORTED: 11,
  MACHINE_UNKNOWN: 12,
  POINT_UNKNOWN: 13,
  POINT_AMBIGUOUS: 13,
  DISK_UNKNOWN: 13,
  FILE_SYSTEM_UNKNOWN: 13,
  FILE_UNKNOWN: 13,
  MACHINE_MISMATCH: 14,
  LOCKED: 15,
  LOCK_LOST: 15,
  POINT_EXISTS: 15,
  STORAGE_FAILED: 16,

  CHAIN_MISSING: 20,
  CHAIN_TORN: 21,
  CHAIN_FOREIGN: 22,
  CHAIN_ORDER: 23,
  DATA_DAMAGED: 24,
  DATA_DIFFERS: 25,

  TARGET_EXISTS: 30,
  TARGET_INVALID: 31,
  TOOL_MISSING: 32,

  PARTIAL: 40,

  GUEST_UNKNOWN: 50,
  GUEST_STATE: 51,
  IMAGE_IN_USE: 51,
  HYPERVISOR_UNREACHABLE: 52,
  HYPERVISOR_TOO_OLD: 53,
  HYPERVISOR_DENIED: 54,
  HYPERVISOR_FAILED: 55,
  JOB_CONFLICT: 56,
  JOB_LOST: 57,
  CONFIRM_REFUSED: 57,
  SCRATCH_FULL: 58,
  AGENT_FAILED: 59,
  HOOK_FAILED: 60,
  SESSION_UNKNOWN: 61,
  UNFIT: 62,

  ABORTED: EXIT_SIGINT,
} as const satisfies Record<ErrorCode, number>;

/** The footer of `nbdelta --help`. */
export const EXIT_CODES_HELP = `
Exit codes (all of them: docs/exit-codes.md):
   0  done                      10-16  repository, machine, point, lock
   1  a defect in nbdelta       20-23  chain: missing, torn, foreign, unordered
   2  wrong usage               24, 25  stored data is damaged, differs
 3-7  NBD: connection, TLS,     30-32  restore target, missing program
      export, bitmap, reading      40  committed, but not every disk
                             50-62  hypervisor: guest, job, scratch, agent, hook
                             130, 143  stopped by Ctrl-C, by SIGTERM
`;
