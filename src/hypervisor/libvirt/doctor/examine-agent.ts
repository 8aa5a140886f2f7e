import { errorLine, HypervisorError } from '../../../errors.js';
import type { Finding } from '../../front-end.js';
import type { DomainView } from './domain-view.js';

/** An agent that lives answers at once; one that hangs must not hang the doctor. Seconds. */
const PING_TIMEOUT = 5;

const CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";

/** Whether the guest agent answers, which `--quiesce` needs. */
export async function* examineAgent(view: DomainView): AsyncGenerator<Finding> {
  const { state, details } = view;
  const id = 'guest-agent';
  if (details.agent === 'none') {
    yield {
      id,
      status: 'warning',
      text: 'the domain has no channel for a guest agent',
      fix: `add ${CHANNEL}`,
    };
  } else if (state.state === 'off') {
    yield { id, status: 'info', text: 'no guest agent is needed: a guest that is off has nothing in flight' };
  } else if (state.state === 'paused') {
    yield { id, status: 'info', text: 'the guest is paused: its agent cannot answer now' };
  } else yield await ping(view);
}

async function ping({ connection, domain }: DomainView): Promise<Finding> {
  const id = 'guest-agent';
  try {
    const options = { cmd: '{"execute":"guest-ping"}', timeout: String(PING_TIMEOUT) };
    const timeoutMs = (PING_TIMEOUT + 10) * 1000;
    await connection.virsh.domain(domain.uuid, 'qemu-agent-command', { options, timeoutMs });
    return { id, status: 'ok', text: 'the guest agent answers' };
  } catch (error) {
    if (!(error instanceof HypervisorError)) throw error;
    const fix =
      'install and start qemu-guest-agent in the guest; without it a backup is like a disk after a power cut';
    return { id, status: 'warning', text: `the guest agent does not answer: ${errorLine(error)}`, fix };
  }
}
