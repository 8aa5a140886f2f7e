import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { describe } from 'vitest';
import { findProgram } from './programs.js';

/** Names a qemu-nbd that speaks extended headers; qemu-img and qemu-io of the same build lie beside it. */
const VARIABLE = 'NBDELTA_QEMU_NBD_EXT';
/** First release of QEMU with NBD_OPT_EXTENDED_HEADERS. */
const FIRST = { text: '8.2', number: 8002 };

/** Absolute paths of one QEMU's tools; its NBD server and its NBD client know 64-bit lengths. */
export interface ExtendedPeer {
  readonly version: string;
  readonly qemuNbd: string;
  readonly qemuImg: string;
  readonly qemuIo: string;
}

/** `8.2` as 8002. The program prints the name that it was started under, then its version. */
function versionOf(qemuNbd: string): { readonly text: string; readonly number: number } {
  const output = execFileSync(qemuNbd, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  const [, major, minor] = /qemu-nbd (\d+)\.(\d+)/.exec(output) ?? [];
  if (major === undefined) throw new Error(`${qemuNbd} --version says: ${output}`);
  return { text: `${major}.${minor}`, number: Number(major) * 1000 + Number(minor) };
}

/** The peer, or why there is none. */
function findPeer(path: string | undefined): ExtendedPeer | string {
  const qemuNbd = findProgram(path ?? 'qemu-nbd');
  if (qemuNbd === undefined) return `${path ?? 'qemu-nbd'} is not installed`;
  const version = versionOf(qemuNbd);
  if (version.number < FIRST.number) return `qemu-nbd is ${version.text}, needs ${FIRST.text}`;
  const [qemuImg, qemuIo] = ['qemu-img', 'qemu-io'].map(name => findProgram(join(dirname(qemuNbd), name)));
  if (qemuImg === undefined || qemuIo === undefined) return `no qemu-img and qemu-io beside ${qemuNbd}`;
  return { version: version.text, qemuNbd, qemuImg, qemuIo };
}

/**
 * `describe` for tests that need a QEMU with extended headers. Many a distribution has none, so its absence is
 * a visible skip in CI too; a peer that {@link VARIABLE} names and that cannot be used is an error.
 */
export function describeWithExtendedPeer(name: string, tests: (peer: ExtendedPeer) => void): void {
  const named = process.env[VARIABLE];
  const peer = findPeer(named);
  if (typeof peer !== 'string') {
    describe(`${name} (QEMU ${peer.version})`, () => tests(peer));
    return;
  }
  if (named !== undefined) throw new Error(`${VARIABLE}: ${peer}`);
  const absent = { version: 'absent', qemuNbd: '', qemuImg: '', qemuIo: '' };
  describe.skip(`${name} (${peer}; ${VARIABLE}=PATH names another)`, () => tests(absent));
}
