import { expect, it } from 'vitest';
import { parseBaseLabel, parseLabel } from '#nbdelta/hypervisor/libvirt/qemu-user.js';

it('finds as whom libvirt runs its guests', () => {
  const model = (name: string, labels: string) => `<secmodel><model>${name}</model>${labels}</secmodel>`;
  const dac = model(
    'dac',
    "<baselabel type='kvm'>+64055:+108</baselabel><baselabel type='qemu'>+1:+1</baselabel>",
  );
  const capabilities = (models: string) => `<capabilities><host>${models}</host></capabilities>`;
  expect(parseBaseLabel(capabilities(model('apparmor', '<baselabel>a</baselabel>') + dac))).toBe(
    '+64055:+108',
  );
  expect(parseBaseLabel(capabilities(model('none', '')))).toBeUndefined();
  expect(parseLabel('+64055:+108')).toEqual({ uid: 64055, gid: 108 });
  expect(parseLabel('0:0')).toEqual({ uid: 0, gid: 0 });
  expect(parseLabel('libvirt-qemu:kvm')).toBeUndefined();
});
