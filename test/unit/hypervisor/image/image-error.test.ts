import { describe, expect, it } from 'vitest';
import { imageArgument } from '#nbdelta/hypervisor/image/image-argument.js';
import { imageError } from '#nbdelta/hypervisor/image/image-error.js';

const LOCK = 'Failed to get shared "write" lock; Is another process using the image [/vm/a]?';

/** Words of qemu-img and qemu-nbd 7.2.22, on one line. */
const SAID: readonly (readonly [string, string])[] = [
  ['IMAGE_IN_USE', `qemu-img: Could not open '/vm/a': ${LOCK}`],
  ['IMAGE_IN_USE', `qemu-nbd: Failed to blk_new_open '/vm/a': ${LOCK}`],
  [
    'IMAGE_IN_USE',
    `qemu-img: Could not open '/vm/a': Failed to get "write" lock; Is another process using [/vm/a]?`,
  ],
  ['GUEST_UNKNOWN', "qemu-img: Could not open '/vm/a': Could not open '/vm/a': No such file or directory"],
  ['GUEST_UNKNOWN', "qemu-img: Could not open '/vm/a': Image is not in qcow2 format"],
  ['HYPERVISOR_DENIED', "qemu-img: Could not open '/vm/a': Could not open '/vm/a': Permission denied"],
  ['HYPERVISOR_DENIED', "qemu-img: Could not open '/vm/a': Could not open '/vm/a': Read-only file system"],
  ['HYPERVISOR_DENIED', "qemu-img: Could not open '/vm/a': Invalid password, cannot unlock any keyslot"],
  [
    'HYPERVISOR_DENIED',
    "qemu-img: Could not open '/vm/a': Parameter 'encrypt.key-secret' is required for cipher",
  ],
  [
    'HYPERVISOR_DENIED',
    "qemu-img: Could not open '/vm/a': Could not open backing file: Parameter 'encrypt.key-secret' is required for cipher",
  ],
  ['HYPERVISOR_DENIED', 'qemu-img: Unable to read /k: Failed to open file “/k”: No such file or directory'],
  [
    'GUEST_STATE',
    "qemu-nbd: Failed to blk_new_open '/vm/a': Could not open backing file: Could not open '/vm/base': No such file or directory",
  ],
  ['USAGE', "qemu-img: Could not open '/vm/a': Unknown driver 'foo'"],
  ['HYPERVISOR_FAILED', "qemu-img: Could not open '/vm/a': Unknown driver 'blkdebug'"],
  ['HYPERVISOR_FAILED', "qemu-img: Could not open '/vm/a': Invalid argument"],
  ['HYPERVISOR_FAILED', ''],
];

describe('what QEMU says of an image', () => {
  it.each(SAID)('%s: %s', (code, stderr) => {
    const error = imageError({ path: '/vm/a' }, 'open', stderr);
    expect(error).toMatchObject({ code, hint: expect.stringMatching(/./) });
    expect(error.message).not.toMatch(/^qemu|\n/);
  });

  it.each(SAID.filter(([code]) => code !== 'USAGE'))(
    '%s, whatever the image is called: %s',
    (code, stderr) => {
      const names = [
        '/secret/Permission denied/No such file',
        '/vm/Failed to get "write" lock',
        "/it's/Invalid password, cannot unlock any keyslot",
        '/vm/Could not open backing file: key-secret',
      ];
      for (const path of names) {
        expect(imageError({ path }, 'open', stderr.replaceAll('/vm/a', path)).code).toBe(code);
      }
    },
  );

  it('says the path where QEMU repeats its argument', () => {
    const image = {
      path: '/vm/a',
      format: 'raw',
      isDevice: false,
      isEncrypted: false,
      secretFile: undefined,
    };
    for (const purpose of ['reading', 'bitmaps'] as const) {
      const stderr = `qemu-nbd: Failed to blk_new_open '${imageArgument(image, purpose)}': Input/output error`;
      const { message } = imageError(image, 'serve', stderr);
      expect(message).toBe("cannot serve /vm/a: Failed to blk_new_open '/vm/a': Input/output error");
    }
  });
});
