import { errorLine } from '../../errors.js';
import type { Finding } from '../../hypervisor/front-end.js';
import { runProgram } from '../../hypervisor/host/run-program.js';
import type { SourceKind } from '../../hypervisor/source.js';

/** A program that some backups need. */
interface Tool {
  readonly name: string;
  /** What makes it say its version. */
  readonly ask: string;
  /** Debian's package of it. */
  readonly package: string;
  /** Without it there is no backup. */
  readonly isRequired: boolean;
  readonly purpose: string;
}

const VIRSH = { name: 'virsh', ask: '--version', package: 'libvirt-clients' };
const QEMU_IMG = { name: 'qemu-img', ask: '--version', package: 'qemu-utils' };
const QEMU_NBD = { name: 'qemu-nbd', ask: '--version', package: 'qemu-utils' };
const SSH = { name: 'ssh', ask: '-V', package: 'openssh-client' };

/** Which programs this machine needs for a source, and what for. */
export function toolsFor(kind: SourceKind, connect: string | undefined): readonly Tool[] {
  const always = { isRequired: true, purpose: 'no backup goes without it' };
  switch (kind) {
    case 'libvirt': {
      const whenOff = { isRequired: false, purpose: 'it reads the images of a guest that is off' };
      const local = [QEMU_IMG, QEMU_NBD].map(tool => ({ ...tool, ...whenOff }));
      const remote = { ...SSH, ...always };
      return [{ ...VIRSH, ...always }, ...(isOverSsh(connect) ? [remote] : local)];
    }
    case 'image':
      return [QEMU_IMG, QEMU_NBD].map(tool => ({ ...tool, ...always }));
    case 'qmp':
    case 'nbd':
      return [];
  }
}

function isOverSsh(connect: string | undefined): boolean {
  return connect !== undefined && /^[a-z]+\+(ssh|libssh2?):/.test(connect);
}

/** Asks each program for its version. */
export async function* examineTools(
  kind: SourceKind,
  connect: string | undefined,
): AsyncGenerator<Finding, void, undefined> {
  yield { id: 'node', status: 'ok', text: `Node.js ${process.versions.node}` };
  for (const tool of toolsFor(kind, connect)) yield await examineTool(tool);
}

async function examineTool(tool: Tool): Promise<Finding> {
  const { name, ask } = tool;
  const id = `tool-${name}`;
  try {
    const { code, stdout, stderr } = await runProgram(name, [ask], { timeoutMs: 10_000 });
    // ssh says its version on stderr.
    const [said = ''] = (stdout.toString('utf8') || stderr).trim().split('\n');
    if (code === 0) return { id, status: 'ok', text: `${name}: ${said}` };
    return missing(tool, `${name} ${ask} ended with ${code}: ${said}`);
  } catch (error) {
    return missing(tool, errorLine(error));
  }
}

function missing({ name, package: debian, isRequired, purpose }: Tool, seen: string): Finding {
  const status = isRequired ? 'problem' : 'warning';
  return {
    id: `tool-${name}`,
    status,
    text: `${seen}; ${purpose}`,
    fix: `install ${name} (Debian: ${debian})`,
  };
}
