/** Opening and making repositories, for the command line and the library. */
export { initRepository, openRepository } from '../repository/repository.js';
