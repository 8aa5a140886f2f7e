import * as z from 'zod';
import { HypervisorError } from '../../errors.js';
import type { QmpClient } from './qmp-client.js';

const typeInfo = z.object({
  name: z.string(),
  'meta-type': z.string(),
  'arg-type': z.string().optional(),
  'element-type': z.string().optional(),
  /** Of an object, an enumeration, or (without names) an alternative. */
  members: z.array(z.object({ name: z.string().default(''), type: z.string().optional() })).optional(),
  /** Of an enumeration, also where it has no members yet. */
  values: z.array(z.string()).optional(),
  tag: z.string().optional(),
});

export const qmpSchema = z.array(typeInfo);
type TypeInfo = z.output<typeof typeInfo>;

/** What this very QEMU offers, as its own schema says: builds differ, and distributions carry changes back. */
export interface Capabilities {
  readonly commands: ReadonlySet<string>;
  readonly transactionActions: ReadonlySet<string>;
  /** Arguments of a command; of `transaction`'s actions too, which take the same. */
  argumentsOf(command: string): ReadonlySet<string>;
}

export async function readCapabilities(client: QmpClient): Promise<Capabilities> {
  return parseCapabilities(await client.query('query-qmp-schema', qmpSchema));
}

/** Types have numbers for names in the schema; what is looked up follows them from the command's name. */
export function parseCapabilities(schema: z.output<typeof qmpSchema>): Capabilities {
  const types = new Map(schema.map(type => [type.name, type]));
  const find = (name: string | undefined) => (name === undefined ? undefined : types.get(name));
  const argumentType = (command: string) => {
    const found = find(command);
    return found?.['meta-type'] === 'command' ? find(found['arg-type']) : undefined;
  };
  return {
    commands: new Set(schema.filter(type => type['meta-type'] === 'command').map(({ name }) => name)),
    transactionActions: new Set(actionNames(argumentType('transaction'), find)),
    argumentsOf: command => new Set(argumentType(command)?.members?.map(({ name }) => name)),
  };
}

/** `actions` is an array of a union, whose tag is an enumeration of the actions' names. */
function actionNames(
  transaction: TypeInfo | undefined,
  find: (name: string | undefined) => TypeInfo | undefined,
): readonly string[] {
  const actions = transaction?.members?.find(({ name }) => name === 'actions');
  const union = find(find(actions?.type)?.['element-type']);
  const tag = union?.members?.find(({ name }) => name === union.tag);
  const names = find(tag?.type);
  return names?.members?.map(({ name }) => name) ?? names?.values ?? [];
}

/** What is needed, and the QEMU that first had it. */
const NEEDED_COMMANDS = {
  'query-named-block-nodes': '2.0',
  'nbd-server-start': '1.3',
  'nbd-server-stop': '1.3',
  transaction: '1.1',
  'blockdev-add': '2.9',
  'blockdev-del': '2.9',
  'query-jobs': '3.0',
  'job-cancel': '3.0',
  'job-dismiss': '3.0',
  'blockdev-create': '3.0',
  'block-dirty-bitmap-remove': '2.4',
  'block-export-add': '5.2',
  'block-export-del': '5.2',
  'query-block-exports': '5.2',
} as const;

const NEEDED_ACTIONS = {
  'block-dirty-bitmap-add': '2.5',
  'block-dirty-bitmap-merge': '4.0',
  'blockdev-backup': '2.3',
} as const;

const NEEDED_ARGUMENTS = [
  { command: 'query-named-block-nodes', name: 'flat', since: '5.0' },
  { command: 'blockdev-backup', name: 'filter-node-name', since: '4.2' },
  { command: 'block-dirty-bitmap-add', name: 'disabled', since: '4.0' },
] as const;

/** A feature that is missing. */
export interface MissingFeature {
  readonly name: string;
  /** The QEMU version that first had it. */
  readonly since: string;
}

export function missingFeatures(capabilities: Capabilities): readonly MissingFeature[] {
  const commands = Object.entries(NEEDED_COMMANDS)
    .filter(([name]) => !capabilities.commands.has(name))
    .map(([name, since]) => ({ name, since }));
  const actions = Object.entries(NEEDED_ACTIONS)
    .filter(([name]) => !capabilities.transactionActions.has(name))
    .map(([name, since]) => ({ name: `${name} in a transaction`, since }));
  const options = NEEDED_ARGUMENTS.filter(
    ({ command, name }) => capabilities.commands.has(command) && !capabilities.argumentsOf(command).has(name),
  ).map(({ command, name, since }) => ({ name: `${command}'s option ${name}`, since }));
  return [...commands, ...actions, ...options];
}

/** @throws HypervisorError HYPERVISOR_TOO_OLD naming what is missing and the version that has it. */
export function requireFeatures(capabilities: Capabilities, version: string): void {
  const missing = missingFeatures(capabilities);
  if (missing.length === 0) return;
  const list = missing.map(({ name, since }) => `${name} (QEMU ${since})`).join(', ');
  throw new HypervisorError(
    'HYPERVISOR_TOO_OLD',
    `QEMU ${version} has not got what a backup needs: ${list}`,
    {
      hint: 'update QEMU to 5.2 or newer, or back up with the guest off: image:PATH',
      fields: { version, missing: missing.map(({ name }) => name) },
    },
  );
}
