import type { DiskSelection, Finding, FrontEnd, Guest } from '../../hypervisor/front-end.js';
import type { FrontEndOptions } from '../../hypervisor/front-end-options.js';
import { openFrontEnd } from '../../hypervisor/open-front-end.js';
import { type NbdUri, redactUri } from '../../nbd/protocol/uri.js';
import { inspectExport } from '../inspect-export.js';
import { StateFolder } from '../journal/state-folder.js';
import { judge, type Verdict } from './doctor-verdict.js';
import { examineExport } from './examine-export.js';
import { examineState } from './examine-state.js';
import { examineTools } from './examine-tools.js';
import { type GuestSource, type ParsedGuestSource, parseGuestSources } from './guest-backup-options.js';

export type { Verdict };

export interface DoctorOptions extends FrontEndOptions, DiskSelection {
  /** As for a backup; also an NBD URI for each export. */
  readonly source: GuestSource | readonly GuestSource[];
  readonly stateDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Diagnosis {
  /** As given, without credentials. */
  readonly source: readonly string[];
  /** `null` for an NBD export: it does not say of which guest it is. */
  readonly guest: Pick<Guest, 'name' | 'id' | 'state' | 'versions'> | null;
  readonly findings: readonly Finding[];
  readonly verdict: Verdict;
}

/**
 * Says what can be backed up and how, and what to do about what is in the way. Changes nothing, needs no repository.
 * @throws what keeps it from looking: UsageError, HypervisorError GUEST_UNKNOWN …, TOOL_MISSING, NBD_CONNECT_FAILED.
 */
export async function doctor(options: DoctorOptions): Promise<Diagnosis> {
  const sources = parseGuestSources(options.source);
  const exports = sources.flatMap(({ source }) => (source.kind === 'nbd' ? [source.uri] : []));
  return exports.length === sources.length && exports.length > 0
    ? await diagnoseExports(exports, options)
    : await diagnoseGuest(sources, options);
}

async function diagnoseExports(uris: readonly NbdUri[], options: DoctorOptions): Promise<Diagnosis> {
  const source = uris.map(({ text }) => redactUri(text));
  const findings = await collect(examineTools('nbd', undefined));
  for (const uri of uris) {
    findings.push(...examineExport(await inspectExport(uri, { signal: options.signal }), uri.address));
  }
  return { source, guest: null, findings, verdict: judge(findings) };
}

async function diagnoseGuest(
  sources: readonly ParsedGuestSource[],
  options: DoctorOptions,
): Promise<Diagnosis> {
  await using frontEnd = await openFrontEnd(sources, options);
  // First: a guest that is not there is an error, not a finding.
  const guest = await frontEnd.inspect(options);
  const source = sources.map(({ source: { text } }) => text);
  const findings = await collect(examineGuest(frontEnd, guest, source, options));
  const { name, id, state, versions } = guest;
  return { source, guest: { name, id, state, versions }, findings, verdict: judge(findings) };
}

async function* examineGuest(
  frontEnd: FrontEnd,
  guest: Guest,
  sources: readonly string[],
  options: DoctorOptions,
): AsyncGenerator<Finding, void, undefined> {
  yield* examineTools(frontEnd.kind, options.connect);
  yield* examineState(new StateFolder(options.stateDir), guest, sources);
  yield* frontEnd.examine(options);
}

async function collect(findings: AsyncIterable<Finding>): Promise<Finding[]> {
  const list: Finding[] = [];
  for await (const finding of findings) list.push(finding);
  return list;
}
