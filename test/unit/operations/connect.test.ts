import { describe, expect, it } from 'vitest';
import { UsageError } from '#nbdelta/errors.js';
import { connect } from '#nbdelta/operations/connect.js';

describe('connect', () => {
  it.each([undefined, null, 7, {}])('says that %j is no URI, as a mistake of the caller', async uri => {
    await expect(connect(uri as unknown as string)).rejects.toThrow(UsageError);
  });
});
