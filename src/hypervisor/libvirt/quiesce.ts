import { errorLine, HypervisorError, type NbdeltaError } from '../../errors.js';
import type { QuiesceRequest } from '../front-end.js';
import type { Virsh } from './virsh.js';

/** How much longer virsh may take than the agent, before it is killed. */
const GRACE_MS = 5000;
/** libvirt's own time limit for an agent's lock is 30 s. */
const THAW_MS = 45_000;
/** Waits for ever: what libvirt does by default. */
const AGENT_BLOCKS = '-2';

/**
 * Runs `work` while the guest's file systems are frozen. They are thawed whatever happens, also when the freeze
 * failed or did not end in time: the guest may have frozen some of them, or still be about to.
 * @throws HypervisorError AGENT_FAILED with the agent's words; what `work` throws.
 */
export async function withFrozenGuest<T>(
  virsh: Virsh,
  uuid: string,
  { timeoutMs, mountpoints }: QuiesceRequest,
  work: () => Promise<T>,
): Promise<T> {
  // libvirt would wait for the agent without end, and keep the thaw from it.
  await limitAgent(virsh, uuid, String(Math.max(1, Math.ceil(timeoutMs / 1000))));
  await pingAgent(virsh, uuid, timeoutMs);
  let result: T;
  try {
    await freeze(virsh, uuid, timeoutMs, mountpoints);
    result = await work();
  } catch (error) {
    await thawAfter(virsh, uuid, error);
    throw error;
  }
  await thawAfter(virsh, uuid, undefined);
  return result;
}

/** Nothing was asked of an agent that does not answer: nothing is to be thawed. */
async function pingAgent(virsh: Virsh, uuid: string, timeoutMs: number): Promise<void> {
  try {
    await ping(virsh, uuid, timeoutMs);
  } catch (error) {
    await limitAgent(virsh, uuid, AGENT_BLOCKS);
    throw error;
  }
}

/** Thaws the guest, and lets the agent take its time again. How many file systems it was. */
export async function thawGuest(virsh: Virsh, uuid: string): Promise<number> {
  try {
    const output = await virsh.domain(uuid, 'domfsthaw', { verbose: true, timeoutMs: THAW_MS });
    return Number(/\d+/.exec(output)?.[0] ?? 0);
  } finally {
    await limitAgent(virsh, uuid, AGENT_BLOCKS);
  }
}

/**
 * A freeze that an agent does not take in time stays in its channel, and the thaw does not get through (seen with libvirt
 * 9.0): an agent that only hung would freeze the guest when it wakes up, and nobody would thaw it. A ping may wait there.
 */
async function ping(virsh: Virsh, uuid: string, timeoutMs: number): Promise<void> {
  const timeout = String(Math.max(1, Math.ceil(timeoutMs / 1000)));
  const options = { cmd: '{"execute":"guest-ping"}', timeout };
  try {
    await virsh.domain(uuid, 'qemu-agent-command', { options, timeoutMs: timeoutMs + GRACE_MS });
  } catch (error) {
    throw agentFailed('answer', error);
  }
}

async function freeze(
  virsh: Virsh,
  uuid: string,
  timeoutMs: number,
  mountpoints: readonly string[] | undefined,
): Promise<void> {
  try {
    const options = { mountpoint: mountpoints?.length ? mountpoints : undefined };
    await virsh.domain(uuid, 'domfsfreeze', { options, timeoutMs: timeoutMs + GRACE_MS });
  } catch (error) {
    throw agentFailed('freeze its file systems', error);
  }
}

/** @throws HypervisorError when the guest may be frozen still, or be about to: with what went wrong before. */
async function thawAfter(virsh: Virsh, uuid: string, failure: unknown): Promise<void> {
  try {
    await thawGuest(virsh, uuid);
  } catch (error) {
    const before = failure === undefined ? '' : `${errorLine(failure)}; and then `;
    const text = `${before}the guest did not thaw its file systems: ${errorLine(error)}`;
    throw new HypervisorError('AGENT_FAILED', text, {
      cause: failure ?? error,
      hint: `it may be frozen still, or freeze when its agent wakes up: virsh domfsthaw ${uuid}`,
    });
  }
}

async function limitAgent(virsh: Virsh, uuid: string, timeout: string): Promise<void> {
  try {
    await virsh.domain(uuid, 'guest-agent-timeout', { options: { timeout } });
  } catch (error) {
    // With no agent there the freeze itself fails, and says why.
    if ((error as Partial<NbdeltaError>).code !== 'AGENT_FAILED') throw error;
  }
}

function agentFailed(what: string, cause: unknown): HypervisorError {
  return new HypervisorError('AGENT_FAILED', `the guest did not ${what}: ${errorLine(cause)}`, {
    cause,
    hint: 'is qemu-guest-agent running in the guest, with its channel in the domain? or go without --quiesce',
  });
}
