import { ascii, RawClient, wire } from './raw-client.js';

export const u32 = (value: number): string => value.toString(16).padStart(8, '0');
export const u64 = (value: number): string => value.toString(16).padStart(16, '0');

/** An option with its data, as hex. */
export function option(number: string, data = ''): string {
  return `49484156454f5054 000000${number} ${u32(wire(data).length)} ${data}`;
}

/** A compact request, as hex. */
export function request(type: string, offset: number, length: number, cookie = 7): string {
  return `25609513 0000 00${type} ${u64(cookie)} ${u64(offset)} ${u32(length)}`;
}

/** Connects and enters the transmission phase of the default export, with simple replies. */
export async function enter(path: string, exportName = ''): Promise<RawClient> {
  const client = await RawClient.connect(path);
  client.send('00000003', option('01', ascii(exportName)));
  await client.take(18 + 10);
  return client;
}
