import { runOk } from './processes.js';

/** One line of `nbdinfo --map --json`. Bytes. */
export interface MapEntry {
  readonly offset: number;
  readonly length: number;
  readonly type: number;
  readonly description: string;
}

/** What libnbd reads as the map of a meta context: the peer to compare our own map with. */
export async function nbdinfoMap(uri: string, context = 'base:allocation'): Promise<readonly MapEntry[]> {
  return JSON.parse(await runOk('nbdinfo', ['--json', `--map=${context}`, uri])) as readonly MapEntry[];
}

export interface ExportInfo {
  readonly 'export-name': string;
  readonly 'export-size': number;
  readonly is_read_only: boolean;
  readonly can_multi_conn: boolean;
  readonly contexts?: readonly string[];
}

export interface ServerInfo {
  readonly protocol: string;
  readonly TLS: boolean;
  readonly structured?: boolean;
  readonly exports: readonly ExportInfo[];
}

export async function nbdinfo(uri: string): Promise<ServerInfo> {
  return JSON.parse(await runOk('nbdinfo', ['--json', uri])) as ServerInfo;
}

/** Copies an export to a raw file. */
export async function nbdcopy(uri: string, target: string): Promise<void> {
  await runOk('nbdcopy', [uri, target]);
}
