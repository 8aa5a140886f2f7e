import type { DiskSelection, Finding } from '../front-end.js';
import type { FrontEndOptions } from '../front-end-options.js';
import type { Host } from '../host/host.js';
import type { QmpClient } from './qmp-client.js';
import type { RunPlaces } from './sweep.js';

export interface ExamineParts {
  readonly host: Host;
  readonly options: FrontEndOptions;
  readonly socket: string;
  readonly open: () => Promise<QmpClient>;
  readonly places: () => Promise<RunPlaces>;
}

export async function* examineQemu(parts: ExamineParts, _selection: DiskSelection): AsyncGenerator<Finding> {
  const client = await parts.open();
  yield { id: 'qemu-version', status: 'ok', text: `QEMU ${client.version}` };
}
