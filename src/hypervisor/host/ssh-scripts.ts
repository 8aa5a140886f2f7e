/**
 * What is done on a host over ssh, for any POSIX shell. Arguments come as $1 …; exit code 3: it is not there.
 * The folder's script checks its base as `LocalHost` does: others could swap what is in it. `find` follows no link,
 * and its `-delete` works in the folder that it has open, whatever is put in its place meanwhile.
 */
export const REMOTE_SCRIPTS = {
  makeFolder: `
    set -e
    base=$1 path=$2 uid=$3 gid=$4
    umask 066
    mkdir -p -- "$base"
    set -- $(stat -L -c '%u %a' -- "$base")
    case "$2" in ????) sticky=\${2%???} ;; *) sticky=0 ;; esac
    open=$(( 0$2 & 022 ))
    if [ "$1" != 0 ] && [ "$1" != "$(id -u)" ] || { [ "$open" != 0 ] && [ "$sticky" = 0 ]; }; then
      echo "the folder $base is not safe for sockets: others may change it" >&2
      exit 1
    fi
    mkdir -m 700 -- "$path"
    if [ -n "$uid" ] && [ "$uid" != "$(id -u)" ]; then
      chown -h "$uid:$gid" -- "$path" || { rmdir -- "$path"; exit 1; }
    fi`,
  removeFolder: `
    [ -e "$1" ] || [ -L "$1" ] || exit 0
    find "$1" -mindepth 1 -maxdepth 1 ! -type d -delete && rmdir -- "$1"`,
  removeFile: `[ -e "$1" ] || [ -L "$1" ] || exit 3; rm -f -- "$1"`,
  listFolder: `[ -d "$1" ] || exit 3; ls -A -- "$1"`,
  readFile: `
    [ -e "$1" ] || exit 3
    [ -f "$1" ] || { echo "it is not a regular file" >&2; exit 1; }
    head -c "$2" -- "$1"`,
  exists: `[ -e "$1" ] || [ -L "$1" ] || exit 3`,
  freeKiB: `df -P -k -- "$1"`,
} as const;

export type RemoteScript = keyof typeof REMOTE_SCRIPTS;
