import * as z from 'zod';
import type { QmpClient } from './qmp-client.js';
import { QmpCommandError } from './qmp-error.js';

const bitmap = z.object({
  /** A mirror's own bitmap has none. */
  name: z.string().optional(),
  granularity: z.int(),
  recording: z.boolean(),
  busy: z.boolean(),
  persistent: z.boolean(),
  inconsistent: z.boolean().default(false),
});

const node = z.object({
  'node-name': z.string(),
  drv: z.string(),
  ro: z.boolean(),
  file: z.string(),
  image: z.object({
    'virtual-size': z.int().nonnegative(),
    'format-specific': z
      .object({ type: z.string(), data: z.record(z.string(), z.unknown()).optional() })
      .optional(),
  }),
  'dirty-bitmaps': z.array(bitmap).default([]),
});

const device = z.object({
  device: z.string(),
  qdev: z.string().optional(),
  removable: z.boolean(),
  inserted: z.object({ 'node-name': z.string().optional() }).optional(),
});

const job = z.object({ id: z.string(), type: z.string(), status: z.string(), error: z.string().optional() });

const blockExport = z.object({
  id: z.string(),
  type: z.string(),
  'node-name': z.string(),
  'shutting-down': z.boolean(),
});

const graph = z.object({
  nodes: z.array(z.object({ id: z.int(), type: z.string(), name: z.string() })),
  edges: z.array(z.object({ parent: z.int(), child: z.int(), name: z.string() })),
});

export type QemuBitmap = Readonly<z.output<typeof bitmap>>;
export type QemuNode = Readonly<z.output<typeof node>>;
export type QemuDevice = Readonly<z.output<typeof device>>;
export type QemuJob = Readonly<z.output<typeof job>>;
export type QemuExport = Readonly<z.output<typeof blockExport>>;
export type QemuGraph = Readonly<z.output<typeof graph>>;

/** Every node of the block graph with its bitmaps; without `flat` each would carry its backing chain once more. */
export function queryNodes(client: QmpClient): Promise<readonly QemuNode[]> {
  return client.query('query-named-block-nodes', z.array(node), { flat: true });
}

/** The guest's devices; none in qemu-storage-daemon. */
export function queryDevices(client: QmpClient): Promise<readonly QemuDevice[]> {
  return client.query('query-block', z.array(device));
}

export function queryJobs(client: QmpClient): Promise<readonly QemuJob[]> {
  return client.query('query-jobs', z.array(job));
}

export function queryExports(client: QmpClient): Promise<readonly QemuExport[]> {
  return client.query('query-block-exports', z.array(blockExport));
}

/**
 * Who stands on whom: filters, backing files, and what uses a node. Its command is called unstable; without it what is
 * below a filter is not seen, and a disk behind one keeps no bitmap.
 */
export async function queryGraph(client: QmpClient): Promise<QemuGraph> {
  return (await ifKnown(client, 'x-debug-query-block-graph', graph)) ?? { nodes: [], edges: [] };
}

/** `running`, `paused`, `prelaunch`, `io-error` …; `undefined` in a storage daemon, which has no guest. */
export async function queryStatus(client: QmpClient): Promise<string | undefined> {
  return (await ifKnown(client, 'query-status', z.object({ status: z.string() })))?.status;
}

/** As given with `-name`. */
export async function queryName(client: QmpClient): Promise<string | undefined> {
  return (await ifKnown(client, 'query-name', z.object({ name: z.string().optional() })))?.name;
}

/** As given with `-uuid`; QEMU says zeroes when it was not. */
export async function queryUuid(client: QmpClient): Promise<string | null> {
  const id = (await ifKnown(client, 'query-uuid', z.object({ UUID: z.string() })))?.UUID;
  return id === undefined || /^[0-]*$/.test(id) ? null : id;
}

/** A question that not every QEMU knows; qemu-storage-daemon has no guest to tell of. */
async function ifKnown<Schema extends z.ZodType>(
  client: QmpClient,
  command: string,
  schema: Schema,
): Promise<z.output<Schema> | undefined> {
  try {
    return await client.query(command, schema);
  } catch (error) {
    if (error instanceof QmpCommandError && error.errorClass === 'CommandNotFound') return undefined;
    throw error;
  }
}

/** Objects given with `-object` or object-add, with their types: credentials, I/O threads. */
export async function queryObjects(client: QmpClient): Promise<readonly { name: string; type: string }[]> {
  try {
    return await client.query('qom-list', z.array(z.object({ name: z.string(), type: z.string() })), {
      path: '/objects',
    });
  } catch (error) {
    // A storage daemon has no such place before it has an object.
    if (isNotFound(error)) return [];
    throw error;
  }
}

/** A property of an object or a device; `undefined` when there is no such thing. */
export async function queryProperty(client: QmpClient, path: string, property: string): Promise<unknown> {
  try {
    return await client.execute('qom-get', { path, property });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function isNotFound(error: unknown): boolean {
  return (
    error instanceof QmpCommandError &&
    (error.errorClass === 'DeviceNotFound' || / not found$/.test(error.text))
  );
}
