// A backup that stops before its manifest: prints the point's id and waits to be killed.
// Usage: node interrupted-backup.mjs REPO MACHINE
import { openRepository } from '#nbdelta/repository/repository.js';

const [location, name] = process.argv.slice(2);
const machine = (await openRepository(location)).machine(name);
const lock = await machine.lock('backup');
const writer = await machine.beginPoint(lock);
const sink = await writer.createVolume('vda.0001.tar');
await sink.append([new Uint8Array(1 << 20)]);
await writer.putFile('domain.xml', Buffer.from('<domain/>'));
process.stdout.write(`${writer.id}\n`);
setInterval(() => {}, 1000);
