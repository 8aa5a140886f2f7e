import { type Domain, defineDomain } from './domain.js';
import type { DomainDescription } from './domain-xml.js';
import type { Libvirtd } from './libvirtd.js';

/** A domain without an operating system, started: a guest in a third of a second, played by {@link Domain.qemuIo}. */
export async function definePausedDomain(
  libvirtd: Libvirtd,
  description: Omit<DomainDescription, 'boot'>,
): Promise<Domain> {
  const domain = await defineDomain(libvirtd, description);
  await domain.start();
  return domain;
}

export type { Domain as PausedDomain } from './domain.js';
