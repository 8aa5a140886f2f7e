import { constants } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { NbdeltaError, toNbdeltaError } from '../../errors.js';

/** Where libguestfs looks for a kernel for its appliance. */
export interface KernelPlaces {
  readonly boot: string;
  readonly modules: string;
}

const PLACES: KernelPlaces = { boot: '/boot', modules: '/lib/modules' };

/**
 * Why the appliance did not start. `supermin`, which builds it, says nothing of use, and nearly always it is the
 * kernel: containers have none, and Ubuntu's only root may read.
 */
export async function applianceFailed(cause: unknown, places = PLACES): Promise<NbdeltaError> {
  const known = toNbdeltaError(cause);
  if (known.code !== 'TOOL_MISSING' || known.fields['command'] !== 'run') return known;
  if (/supermin/.test(known.message) && process.env['SUPERMIN_KERNEL'] === undefined) {
    const kernels = await findKernels(places);
    if (kernels.length === 0) return noKernel(known, 'there is no kernel here for its appliance', HINT_NONE);
    if (!(await someReadable(kernels))) {
      return noKernel(known, `${kernels[0]} cannot be read by us`, 'run as root, or chmod 0644 it');
    }
  }
  return new NbdeltaError('TOOL_MISSING', `libguestfs cannot start its appliance: ${reason(known)}`, {
    cause,
    hint: 'libguestfs-test-tool shows why',
    fields: { tool: 'guestfish' },
  });
}

const HINT_NONE = 'install one, such as linux-image-amd64 (Debian), or name one with SUPERMIN_KERNEL';

function noKernel(cause: NbdeltaError, why: string, hint: string): NbdeltaError {
  const message = `libguestfs cannot start its appliance: ${why}`;
  return new NbdeltaError('TOOL_MISSING', message, { cause, hint, fields: { tool: 'guestfish' } });
}

function reason({ message }: NbdeltaError): string {
  return message.replace(/^guestfish failed: /, '');
}

async function findKernels({ boot, modules }: KernelPlaces): Promise<readonly string[]> {
  const inBoot = (await namesIn(boot)).filter(name => /^vmlinu[xz]/.test(name)).map(name => join(boot, name));
  const versions = (await namesIn(modules)).map(version => join(modules, version));
  const inModules = await Promise.all(
    versions.map(async version =>
      (await namesIn(version)).includes('vmlinuz') ? [join(version, 'vmlinuz')] : [],
    ),
  );
  return [...inBoot, ...inModules.flat()];
}

/** A folder that is not there, or that is none, has no kernels. */
async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch {
    return []; // said by "there is no kernel"
  }
}

async function someReadable(paths: readonly string[]): Promise<boolean> {
  const answers = await Promise.allSettled(paths.map(path => access(path, constants.R_OK)));
  return answers.some(({ status }) => status === 'fulfilled');
}

/**
 * Whether a QEMU that would have used KVM died of it: some machines offer a /dev/kvm that does not work. It is worth
 * another try without.
 */
export function mayBeKvm(error: unknown): boolean {
  const { message, fields } = toNbdeltaError(error);
  return fields['command'] === 'run' && /qemu\S* (killed|exited)|closed the connection/.test(message);
}
