import { type ErrorCode, errorLine, NbdeltaError } from '../../errors.js';
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
  /** `null` for an NBD export, which does not say of which guest it is, and for a guest that cannot be described. */
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
  const { guest, problem } = await inspect(frontEnd, options);
  const source = sources.map(({ source: { text } }) => text);
  const id = guest?.id ?? null;
  const findings = await collect(examineGuest(frontEnd, id, source, options));
  // Mostly told more closely by then: which disk it was, and what to do.
  if (problem !== undefined && !findings.some(({ status }) => status === 'problem')) findings.push(problem);
  return { source, guest: guest && describe(guest), findings, verdict: judge(findings) };
}

/** What is wrong with the guest itself is for the findings; what keeps the doctor out is an error. */
const GUESTS_OWN: readonly ErrorCode[] = ['HYPERVISOR_FAILED', 'GUEST_STATE', 'IMAGE_IN_USE'];

async function inspect(
  frontEnd: FrontEnd,
  options: DoctorOptions,
): Promise<{ readonly guest: Guest | null; readonly problem?: Finding }> {
  try {
    return { guest: await frontEnd.inspect(options) };
  } catch (error) {
    if (!(error instanceof NbdeltaError) || !GUESTS_OWN.includes(error.code)) throw error;
    const fix = error.hint ?? 'see the message';
    return { guest: null, problem: { id: 'guest', status: 'problem', text: errorLine(error), fix } };
  }
}

function describe({ name, id, state, versions }: Guest): Diagnosis['guest'] {
  return { name, id, state, versions };
}

async function* examineGuest(
  frontEnd: FrontEnd,
  id: string | null,
  sources: readonly string[],
  options: DoctorOptions,
): AsyncGenerator<Finding, void, undefined> {
  const { kind } = frontEnd;
  yield* examineTools(kind, options.connect);
  yield* examineState(new StateFolder(options.stateDir), { kind, id }, sources);
  yield* frontEnd.examine(options);
}

async function collect(findings: AsyncIterable<Finding>): Promise<Finding[]> {
  const list: Finding[] = [];
  for await (const finding of findings) list.push(finding);
  return list;
}
