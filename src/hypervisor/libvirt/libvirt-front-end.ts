import { HypervisorError } from '../../errors.js';
import type { FrontEnd } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { NamedSource } from '../open-front-end.js';

const unbuilt = (): never => {
  throw new HypervisorError('HYPERVISOR_FAILED', 'not built yet');
};

export class LibvirtFrontEnd implements FrontEnd {
  readonly kind = 'libvirt';
  readonly sources: readonly NamedSource[];
  readonly options: FrontEndOptions;
  constructor(sources: readonly NamedSource[], options: FrontEndOptions) {
    this.sources = sources;
    this.options = options;
  }
  inspect = unbuilt;
  begin = unbuilt;
  health = unbuilt;
  watch = unbuilt;
  end = unbuilt;
  dropCheckpoints = unbuilt;
  listCheckpoints = unbuilt;
  sweep = unbuilt;
  readFiles = unbuilt;
  examine = unbuilt;
  async [Symbol.asyncDispose](): Promise<void> {}
}
