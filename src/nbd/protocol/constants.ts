/**
 * Constants of the NBD protocol, spelled as in its specification
 * (NetworkBlockDevice/nbd `doc/proto.md`, section "Values"; EXTENDED_HEADERS: branch `extension-ext-header`).
 */

/** ASCII "NBDMAGIC", first 8 bytes from a server. */
export const NBD_MAGIC = 0x4e42444d41474943n;
/** ASCII "IHAVEOPT": newstyle greeting, and the start of every option. */
export const NBD_OPTS_MAGIC = 0x49484156454f5054n;
/** `cliserv_magic`: the greeting of the obsolete oldstyle handshake. */
export const NBD_CLISERV_MAGIC = 0x00420281861253n;
export const NBD_REP_MAGIC = 0x0003e889045565a9n;
export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const NBD_EXTENDED_REPLY_MAGIC = 0x6e8a278c;

export const NBD_DEFAULT_PORT = 10809;

// Handshake flags (server) and client flags.
export const NBD_FLAG_FIXED_NEWSTYLE = 0x0001;
export const NBD_FLAG_NO_ZEROES = 0x0002;
export const NBD_FLAG_C_FIXED_NEWSTYLE = 0x00000001;
export const NBD_FLAG_C_NO_ZEROES = 0x00000002;

// Transmission flags.
export const NBD_FLAG_HAS_FLAGS = 0x0001;
export const NBD_FLAG_READ_ONLY = 0x0002;
export const NBD_FLAG_SEND_FLUSH = 0x0004;
export const NBD_FLAG_SEND_FUA = 0x0008;
export const NBD_FLAG_ROTATIONAL = 0x0010;
export const NBD_FLAG_SEND_TRIM = 0x0020;
export const NBD_FLAG_SEND_WRITE_ZEROES = 0x0040;
export const NBD_FLAG_SEND_DF = 0x0080;
export const NBD_FLAG_CAN_MULTI_CONN = 0x0100;
export const NBD_FLAG_SEND_CACHE = 0x0400;
export const NBD_FLAG_SEND_FAST_ZERO = 0x0800;

/** Transmission flags by the short name that `info` prints. */
export const TRANSMISSION_FLAG_NAMES = {
  'read-only': NBD_FLAG_READ_ONLY,
  flush: NBD_FLAG_SEND_FLUSH,
  fua: NBD_FLAG_SEND_FUA,
  rotational: NBD_FLAG_ROTATIONAL,
  trim: NBD_FLAG_SEND_TRIM,
  'write-zeroes': NBD_FLAG_SEND_WRITE_ZEROES,
  df: NBD_FLAG_SEND_DF,
  'multi-conn': NBD_FLAG_CAN_MULTI_CONN,
  cache: NBD_FLAG_SEND_CACHE,
  'fast-zero': NBD_FLAG_SEND_FAST_ZERO,
} as const;

export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_LIST = 3;
export const NBD_OPT_STARTTLS = 5;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;
export const NBD_OPT_LIST_META_CONTEXT = 9;
export const NBD_OPT_SET_META_CONTEXT = 10;
export const NBD_OPT_EXTENDED_HEADERS = 11;

export const OPTION_NAMES: Readonly<Record<number, string>> = {
  [NBD_OPT_EXPORT_NAME]: 'NBD_OPT_EXPORT_NAME',
  [NBD_OPT_ABORT]: 'NBD_OPT_ABORT',
  [NBD_OPT_LIST]: 'NBD_OPT_LIST',
  [NBD_OPT_STARTTLS]: 'NBD_OPT_STARTTLS',
  [NBD_OPT_INFO]: 'NBD_OPT_INFO',
  [NBD_OPT_GO]: 'NBD_OPT_GO',
  [NBD_OPT_STRUCTURED_REPLY]: 'NBD_OPT_STRUCTURED_REPLY',
  [NBD_OPT_LIST_META_CONTEXT]: 'NBD_OPT_LIST_META_CONTEXT',
  [NBD_OPT_SET_META_CONTEXT]: 'NBD_OPT_SET_META_CONTEXT',
  [NBD_OPT_EXTENDED_HEADERS]: 'NBD_OPT_EXTENDED_HEADERS',
};

export const NBD_REP_ACK = 1;
export const NBD_REP_SERVER = 2;
export const NBD_REP_INFO = 3;
export const NBD_REP_META_CONTEXT = 4;
/** Set in every error reply type. */
export const NBD_REP_FLAG_ERROR = 0x80000000;
export const NBD_REP_ERR_UNSUP = 0x80000001;
export const NBD_REP_ERR_POLICY = 0x80000002;
export const NBD_REP_ERR_INVALID = 0x80000003;
export const NBD_REP_ERR_PLATFORM = 0x80000004;
export const NBD_REP_ERR_TLS_REQD = 0x80000005;
export const NBD_REP_ERR_UNKNOWN = 0x80000006;
export const NBD_REP_ERR_SHUTDOWN = 0x80000007;
export const NBD_REP_ERR_BLOCK_SIZE_REQD = 0x80000008;
export const NBD_REP_ERR_TOO_BIG = 0x80000009;
export const NBD_REP_ERR_EXT_HEADER_REQD = 0x8000000a;

export const REPLY_ERROR_NAMES: Readonly<Record<number, string>> = {
  [NBD_REP_ERR_UNSUP]: 'NBD_REP_ERR_UNSUP',
  [NBD_REP_ERR_POLICY]: 'NBD_REP_ERR_POLICY',
  [NBD_REP_ERR_INVALID]: 'NBD_REP_ERR_INVALID',
  [NBD_REP_ERR_PLATFORM]: 'NBD_REP_ERR_PLATFORM',
  [NBD_REP_ERR_TLS_REQD]: 'NBD_REP_ERR_TLS_REQD',
  [NBD_REP_ERR_UNKNOWN]: 'NBD_REP_ERR_UNKNOWN',
  [NBD_REP_ERR_SHUTDOWN]: 'NBD_REP_ERR_SHUTDOWN',
  [NBD_REP_ERR_BLOCK_SIZE_REQD]: 'NBD_REP_ERR_BLOCK_SIZE_REQD',
  [NBD_REP_ERR_TOO_BIG]: 'NBD_REP_ERR_TOO_BIG',
  [NBD_REP_ERR_EXT_HEADER_REQD]: 'NBD_REP_ERR_EXT_HEADER_REQD',
};

export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_NAME = 1;
export const NBD_INFO_DESCRIPTION = 2;
export const NBD_INFO_BLOCK_SIZE = 3;

export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_CACHE = 5;
export const NBD_CMD_WRITE_ZEROES = 6;
export const NBD_CMD_BLOCK_STATUS = 7;

export const COMMAND_NAMES: Readonly<Record<number, string>> = {
  [NBD_CMD_READ]: 'NBD_CMD_READ',
  [NBD_CMD_WRITE]: 'NBD_CMD_WRITE',
  [NBD_CMD_DISC]: 'NBD_CMD_DISC',
  [NBD_CMD_FLUSH]: 'NBD_CMD_FLUSH',
  [NBD_CMD_TRIM]: 'NBD_CMD_TRIM',
  [NBD_CMD_CACHE]: 'NBD_CMD_CACHE',
  [NBD_CMD_WRITE_ZEROES]: 'NBD_CMD_WRITE_ZEROES',
  [NBD_CMD_BLOCK_STATUS]: 'NBD_CMD_BLOCK_STATUS',
};

export const NBD_CMD_FLAG_FUA = 0x0001;
export const NBD_CMD_FLAG_NO_HOLE = 0x0002;
export const NBD_CMD_FLAG_DF = 0x0004;
export const NBD_CMD_FLAG_REQ_ONE = 0x0008;
export const NBD_CMD_FLAG_FAST_ZERO = 0x0010;
export const NBD_CMD_FLAG_PAYLOAD_LEN = 0x0020;

export const NBD_REPLY_FLAG_DONE = 0x0001;
export const NBD_REPLY_TYPE_NONE = 0;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5;
export const NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6;
/** Set in every error chunk type. */
export const NBD_REPLY_TYPE_FLAG_ERROR = 0x8000;
export const NBD_REPLY_TYPE_ERROR = 0x8001;
export const NBD_REPLY_TYPE_ERROR_OFFSET = 0x8002;

/** `base:allocation` flags. Only NBD_STATE_ZERO says that a range reads as zeroes. */
export const NBD_STATE_HOLE = 0x1;
export const NBD_STATE_ZERO = 0x2;
/** `qemu:dirty-bitmap:*` flag (QEMU docs/interop/nbd.rst). */
export const NBD_STATE_DIRTY = 0x1;

export const CONTEXT_BASE_ALLOCATION = 'base:allocation';
export const CONTEXT_QEMU_ALLOCATION_DEPTH = 'qemu:allocation-depth';
export const CONTEXT_QEMU_DIRTY_BITMAP = 'qemu:dirty-bitmap:';

/** "String length limit": no name, query or message is longer. Bytes. */
export const NBD_MAX_STRING = 4096;
/** Largest READ/WRITE without an advertised maximum payload ("Size constraints"). Bytes. */
export const NBD_DEFAULT_MAX_PAYLOAD = 0x2000000;

/** Portable error values ("Error values"); anything else is treated as EINVAL. */
export const NBD_ERROR_NAMES: Readonly<Record<number, string>> = {
  1: 'EPERM',
  5: 'EIO',
  12: 'ENOMEM',
  22: 'EINVAL',
  28: 'ENOSPC',
  75: 'EOVERFLOW',
  95: 'ENOTSUP',
  108: 'ESHUTDOWN',
};
export const NBD_EPERM = 1;
export const NBD_EIO = 5;
export const NBD_ENOMEM = 12;
export const NBD_EINVAL = 22;
export const NBD_ENOSPC = 28;
export const NBD_EOVERFLOW = 75;
export const NBD_ENOTSUP = 95;
export const NBD_ESHUTDOWN = 108;

/** Name of an NBD error value for people: "EIO", or "error 71" for one the specification does not know. */
export function errnoName(errno: number): string {
  return NBD_ERROR_NAMES[errno] ?? `error ${errno}`;
}
