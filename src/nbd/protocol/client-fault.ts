import { NbdConnectionError } from '../../errors.js';

/** Server side: the client broke the protocol; its connection cannot go on, nobody else's is touched. */
export function clientFault(message: string): NbdConnectionError {
  return new NbdConnectionError('NBD_PROTOCOL', message, {
    hint: 'the client broke the NBD protocol or is not an NBD client; its connection was closed',
  });
}
