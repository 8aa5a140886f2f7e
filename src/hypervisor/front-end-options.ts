/** How jobs are to be driven; each front-end takes what concerns it. */
export interface FrontEndOptions {
  /** libvirt's connection URI, e.g. `qemu+ssh://root@host/system`; default: virsh's own. */
  readonly connect?: string | undefined;
  /** Folder for the scratch files, as the hypervisor's host sees it. Default `/var/tmp`. */
  readonly scratch?: string | undefined;
  /** Free bytes that the scratch folder must keep: below it the job is ended. Default 256 MiB. */
  readonly scratchReserve?: number | undefined;
  /** Where private folders for NBD sockets are made. Default: see `host/socket-folder.ts`. */
  readonly socketDir?: string | undefined;
  /** TCP with TLS instead of a unix socket. */
  readonly listen?: { readonly host: string; readonly port: number } | undefined;
  /** Folder with ca-cert.pem, client-cert.pem and client-key.pem, for `listen`. */
  readonly tlsCertificates?: string | undefined;
  /**
   * Format of `image:` sources. Without it qemu-img looks; say `raw` for raw images: a guest may write into one what looks
   * like another format's header, and so have other files read.
   */
  readonly imageFormat?: string | undefined;
  /** Read disks that an I/O thread serves even where QEMU may crash of it; see `io-threads.ts`. */
  readonly allowIoThreads?: boolean | undefined;
  /** File with the passphrase of a LUKS image. */
  readonly secretFile?: string | undefined;
}
