import { describe, expect, it } from 'vitest';
import { withFrozenGuest } from '#nbdelta/hypervisor/libvirt/quiesce.js';
import type { Virsh } from '#nbdelta/hypervisor/libvirt/virsh.js';

/** A virsh that writes down what it is asked, and fails where it is told to. */
function scriptedVirsh(failing: readonly string[]) {
  const asked: string[] = [];
  const domain = async (_uuid: string, command: string): Promise<string> => {
    asked.push(command);
    if (failing.includes(command)) throw new Error(`${command} broke`);
    return '2 filesystems';
  };
  return { asked, virsh: { domain } as unknown as Virsh };
}

const freezeWith = (virsh: Virsh, work: () => Promise<string>) =>
  withFrozenGuest(virsh, 'uuid', { timeoutMs: 1000 }, work);

describe('a frozen guest', () => {
  it('is thawed when the work is done', async () => {
    const { virsh, asked } = scriptedVirsh([]);
    expect(await freezeWith(virsh, async () => 'done')).toBe('done');
    expect(asked.filter(name => name.startsWith('domfs'))).toEqual(['domfsfreeze', 'domfsthaw']);
  });

  it('is thawed when the work failed, and that is the error', async () => {
    const { virsh, asked } = scriptedVirsh([]);
    const failed = freezeWith(virsh, () => Promise.reject(new Error('no job')));
    await expect(failed).rejects.toThrow('no job');
    expect(asked).toContain('domfsthaw');
  });

  it('is thawed when the freeze itself failed: some file systems may be frozen', async () => {
    const { virsh, asked } = scriptedVirsh(['domfsfreeze']);
    await expect(freezeWith(virsh, async () => 'never')).rejects.toMatchObject({ code: 'AGENT_FAILED' });
    expect(asked).toContain('domfsthaw');
  });

  it('that does not thaw is told of, with what went wrong before', async () => {
    const { virsh } = scriptedVirsh(['domfsthaw']);
    const failed = freezeWith(virsh, () => Promise.reject(new Error('no job')));
    await expect(failed).rejects.toMatchObject({
      code: 'AGENT_FAILED',
      message: expect.stringMatching(/no job; and then .*did not thaw.*domfsthaw broke/),
      hint: expect.stringContaining('virsh domfsthaw uuid'),
    });
  });

  it('is not asked to freeze when its agent does not answer', async () => {
    const { virsh, asked } = scriptedVirsh(['qemu-agent-command']);
    await expect(freezeWith(virsh, async () => 'never')).rejects.toMatchObject({ code: 'AGENT_FAILED' });
    expect(asked.filter(name => name.startsWith('domfs'))).toEqual([]);
  });
});
