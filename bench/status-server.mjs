/**
 * A scripted NBD server for `change-map.mjs`: an export of 1 TiB, allocated as a whole, whose dirty bitmap is a
 * checkerboard of 64 KiB. It answers BLOCK_STATUS in structured replies of at most 131,072 descriptors, as QEMU
 * does, from one buffer that is made once; it has no data. `node bench/status-server.mjs SOCKET`
 */
import { createServer } from 'node:net';

const SIZE = 2 ** 40;
const GRANULE = 1 << 16;
const MAX_DESCRIPTORS = 131_072;
const ALLOCATION = 1;
const BITMAP = 2;

const [OPT_STRUCTURED_REPLY, OPT_SET_META_CONTEXT, OPT_GO, OPT_EXTENDED_HEADERS] = [8, 10, 7, 11];
const [REP_ACK, REP_INFO, REP_META_CONTEXT, REP_ERR_UNSUP] = [1, 3, 4, 0x80000001];
const [CMD_DISC, CMD_BLOCK_STATUS] = [2, 7];

/** Descriptors of the bitmap from any even multiple of the granule on: u32 length, u32 dirty. */
const checkerboard = Buffer.alloc(8 * (MAX_DESCRIPTORS + 1));
for (let index = 0; index <= MAX_DESCRIPTORS; index++) {
  checkerboard.writeUInt32BE(GRANULE, 8 * index);
  checkerboard.writeUInt32BE((index + 1) % 2, 8 * index + 4);
}

function optionReply(option, type, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(20);
  head.writeBigUInt64BE(0x3e889045565a9n);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(type, 12);
  head.writeUInt32BE(payload.length, 16);
  return Buffer.concat([head, payload]);
}

function contextReply(id, name) {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(id);
  return optionReply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, Buffer.concat([head, Buffer.from(name)]));
}

/** NBD_INFO_EXPORT: u16 type 0, u64 size, u16 flags (HAS_FLAGS, READ_ONLY). */
function exportInfo() {
  const info = Buffer.alloc(12);
  info.writeBigUInt64BE(BigInt(SIZE), 2);
  info.writeUInt16BE(0b11, 10);
  return info;
}

/** The whole answer to one option. */
function answerOption(option) {
  if (option === OPT_STRUCTURED_REPLY) return optionReply(option, REP_ACK);
  if (option === OPT_GO) {
    return Buffer.concat([optionReply(option, REP_INFO, exportInfo()), optionReply(option, REP_ACK)]);
  }
  if (option === OPT_SET_META_CONTEXT) {
    const contexts = [
      contextReply(ALLOCATION, 'base:allocation'),
      contextReply(BITMAP, 'qemu:dirty-bitmap:b0'),
    ];
    return Buffer.concat([...contexts, optionReply(option, REP_ACK)]);
  }
  if (option !== OPT_EXTENDED_HEADERS) process.stderr.write(`status-server: option ${option} refused\n`);
  return optionReply(option, REP_ERR_UNSUP);
}

/** Header of a BLOCK_STATUS chunk with its context id. */
function chunkHead(cookie, done, id, descriptors) {
  const head = Buffer.alloc(24);
  head.writeUInt32BE(0x668e33ef);
  head.writeUInt16BE(done ? 1 : 0, 4);
  head.writeUInt16BE(5, 6);
  cookie.copy(head, 8);
  head.writeUInt32BE(4 + 8 * descriptors, 16);
  head.writeUInt32BE(id, 20);
  return head;
}

function answerStatus(socket, request) {
  const offset = Number(request.readBigUInt64BE(16));
  const length = request.readUInt32BE(24);
  if (offset % GRANULE !== 0 || length % GRANULE !== 0) throw new Error(`request ${offset}+${length}`);
  const descriptors = Math.min(MAX_DESCRIPTORS, length / GRANULE);
  const first = (offset / GRANULE) % 2;
  const cookie = request.subarray(8, 16);
  const allocation = Buffer.alloc(8);
  allocation.writeUInt32BE(length);
  socket.cork();
  socket.write(chunkHead(cookie, false, ALLOCATION, 1));
  socket.write(allocation);
  socket.write(chunkHead(cookie, true, BITMAP, descriptors));
  socket.write(checkerboard.subarray(8 * first, 8 * (first + descriptors)));
  socket.uncork();
}

/** Takes whole messages out of what arrives; `step` returns the bytes it used, 0 when more are needed. */
function serve(socket) {
  let pending = Buffer.alloc(0);
  let step = readClientFlags;
  socket.on('data', bytes => {
    pending = Buffer.concat([pending, bytes]);
    for (let used = step(pending); used > 0; used = step(pending)) pending = pending.subarray(used);
  });
  socket.on('error', () => undefined); // a client that leaves at once
  const greeting = Buffer.from('4e42444d41474943' + '49484156454f5054' + '0003', 'hex');
  socket.write(greeting);

  function readClientFlags(bytes) {
    if (bytes.length < 4) return 0;
    step = readOption;
    return 4;
  }

  function readOption(bytes) {
    if (bytes.length < 16) return 0;
    const [option, length] = [bytes.readUInt32BE(8), bytes.readUInt32BE(12)];
    if (bytes.length < 16 + length) return 0;
    socket.write(answerOption(option));
    if (option === OPT_GO) step = readRequest;
    return 16 + length;
  }

  function readRequest(bytes) {
    if (bytes.length < 28) return 0;
    const type = bytes.readUInt16BE(6);
    if (type === CMD_BLOCK_STATUS) answerStatus(socket, bytes);
    else if (type === CMD_DISC) socket.end();
    else throw new Error(`status-server: command ${type}`);
    return 28;
  }
}

createServer({ noDelay: true }, serve).listen(process.argv[2], () => process.stdout.write('ready\n'));
