/** What qemu-img 7.2.22 said (`qemu-img info -U --output=json`), white space aside; above each, how the image was made. */

export const CAPTURED = {
  /** `qemu-img create -f qcow2 p.qcow2 1M` */
  qcow2:
    '{"virtual-size":1048576,"filename":"p.qcow2","cluster-size":65536,"format":"qcow2","actual-size":200704,"format-specific":{"type":"qcow2","data":{"compat":"1.1","compression-type":"zlib","lazy-refcounts":false,"refcount-bits":16,"corrupt":false,"extended-l2":false}},"dirty-flag":false}',
  /** `qemu-img create -f qcow2 -o compat=0.10 v2.qcow2 1M` */
  qcow2v2:
    '{"virtual-size":1048576,"filename":"v2.qcow2","cluster-size":65536,"format":"qcow2","actual-size":200704,"format-specific":{"type":"qcow2","data":{"compat":"0.10","compression-type":"zlib","refcount-bits":16}},"dirty-flag":false}',
  /** `qemu-img create -f raw r.raw 1M` */
  raw: '{"virtual-size":1048576,"filename":"r.raw","format":"raw","actual-size":4096,"dirty-flag":false}',
  /** `qemu-img create -f luks --object secret,id=s,file=key -o key-secret=s,iter-time=10 a.luks 4M` */
  luks: '{"virtual-size":4194304,"filename":"a.luks","format":"luks","actual-size":262144,"format-specific":{"type":"luks","data":{"ivgen-alg":"plain64","hash-alg":"sha256","cipher-alg":"aes-256","uuid":"bff05888-5d33-4803-9fe1-72772148f7d1","cipher-mode":"xts","slots":[{"active":true,"iters":30619,"key-offset":4096,"stripes":4000},{"active":false,"key-offset":262144},{"active":false,"key-offset":520192},{"active":false,"key-offset":778240},{"active":false,"key-offset":1036288},{"active":false,"key-offset":1294336},{"active":false,"key-offset":1552384},{"active":false,"key-offset":1810432}],"payload-offset":2068480,"master-key-iters":7501}},"encrypted":true,"dirty-flag":false}',
  /** `qemu-img create -f qcow2 --object secret,id=s,file=key -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e.qcow2 4M` */
  encryptedQcow2:
    '{"virtual-size":4194304,"filename":"e.qcow2","cluster-size":65536,"format":"qcow2","actual-size":2297856,"format-specific":{"type":"qcow2","data":{"compat":"1.1","compression-type":"zlib","lazy-refcounts":false,"refcount-bits":16,"encrypt":{"ivgen-alg":"plain64","hash-alg":"sha256","cipher-alg":"aes-256","uuid":"b4cdeca3-0d6c-484d-9987-66f54dc11bab","format":"luks","cipher-mode":"xts","slots":[{"active":true,"iters":31405,"key-offset":4096,"stripes":4000},{"active":false,"key-offset":262144},{"active":false,"key-offset":520192},{"active":false,"key-offset":778240},{"active":false,"key-offset":1036288},{"active":false,"key-offset":1294336},{"active":false,"key-offset":1552384},{"active":false,"key-offset":1810432}],"payload-offset":2068480,"master-key-iters":7613},"corrupt":false,"extended-l2":false}},"encrypted":true,"dirty-flag":false}',
  /** `qemu-img create -f qcow2 -b base.qcow2 -F qcow2 top.qcow2` */
  overlay:
    '{"backing-filename-format":"qcow2","virtual-size":4194304,"filename":"top.qcow2","cluster-size":65536,"format":"qcow2","actual-size":221184,"format-specific":{"type":"qcow2","data":{"compat":"1.1","compression-type":"zlib","lazy-refcounts":false,"refcount-bits":16,"corrupt":false,"extended-l2":false}},"full-backing-filename":"base.qcow2","backing-filename":"base.qcow2","dirty-flag":false}',
  /** `qemu-img create -f qcow2 -o data_file=dd.raw,data_file_raw=on df.qcow2 1M` */
  dataFile:
    '{"virtual-size":1048576,"filename":"df.qcow2","cluster-size":65536,"format":"qcow2","actual-size":266240,"format-specific":{"type":"qcow2","data":{"compat":"1.1","compression-type":"zlib","lazy-refcounts":false,"refcount-bits":16,"data-file":"dd.raw","data-file-raw":true,"corrupt":false,"extended-l2":false}},"dirty-flag":false}',
  /** `qemu-img create -f vmdk v.vmdk 1M` */
  vmdk: '{"virtual-size":1048576,"filename":"v.vmdk","cluster-size":65536,"format":"vmdk","actual-size":12288,"format-specific":{"type":"vmdk","data":{"cid":3284564010,"parent-cid":4294967295,"create-type":"monolithicSparse","extents":[{"virtual-size":1048576,"filename":"v.vmdk","cluster-size":65536,"format":""}]}},"dirty-flag":false}',
  /** `qemu-img bitmap --add b.qcow2 b0; qemu-img bitmap --add --disable b.qcow2 off` */
  bitmaps:
    '{"virtual-size":1048576,"filename":"b.qcow2","cluster-size":65536,"format":"qcow2","actual-size":225280,"format-specific":{"type":"qcow2","data":{"compat":"1.1","compression-type":"zlib","lazy-refcounts":false,"bitmaps":[{"flags":["auto"],"name":"b0","granularity":65536},{"flags":[],"name":"off","granularity":65536}],"refcount-bits":16,"corrupt":false,"extended-l2":false}},"dirty-flag":false}',
  /** `the same image, after a qemu-io that had it open was killed` */
  inUse:
    '{"virtual-size":1048576,"filename":"b.qcow2","cluster-size":65536,"format":"qcow2","actual-size":348160,"format-specific":{"type":"qcow2","data":{"compat":"1.1","compression-type":"zlib","lazy-refcounts":false,"bitmaps":[{"flags":["in-use","auto"],"name":"b0","granularity":65536},{"flags":["in-use"],"name":"off","granularity":65536}],"refcount-bits":16,"corrupt":false,"extended-l2":false}},"dirty-flag":false}',
} as const;
