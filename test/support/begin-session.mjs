/** `node begin-session.mjs OPTIONS`: begins a session, prints it as JSON, and ends at once. */
import { beginSession } from '#nbdelta/index.js';

process.stdout.write(JSON.stringify(await beginSession(JSON.parse(process.argv[2]))));
