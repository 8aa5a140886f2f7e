#!/bin/busybox sh
# First process of the tests' guest: loads modules, starts the agent where its port is, and then runs, line by line,
# what comes from the control port (the second serial port): "RUN <number> <shell line>". The answer is the line's
# output and "==DONE <number> <exit code>".
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /mnt /sbin
/bin/busybox --install -s /bin
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module.ko"; done </modules/order

agent_port() {
  for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] && echo "/dev/${port##*/}" && return
  done
  return 1
}

start_agent() {
  port=$(agent_port) || return 1
  qemu-ga --daemonize --method virtio-serial --path "$port" --statedir /run --pidfile /run/qemu-ga.pid --logfile /run/qemu-ga.log
}

# tick DISK NUMBER: one step of the writer. Most write 64 KiB of "tick NUMBER" past the page cache; some zero, some discard.
tick() {
  block=$(($2 * 7919 % 256))
  case $(($2 % 7)) in
    3) blkdiscard -o $((block * 65536)) -l 65536 "/dev/$1" ;;
    5) dd if=/dev/zero of="/dev/$1" bs=65536 seek=$block count=1 oflag=direct conv=notrunc 2>/dev/null ;;
    *) yes "tick $2" | dd of="/dev/$1" bs=65536 seek=$block count=1 iflag=fullblock oflag=direct conv=notrunc 2>/dev/null ;;
  esac
}

# writer DISK...: goes on until /run/stop is there; each step on all disks, one after the other. /run/ticks says how far.
writer() {
  number=1
  while [ ! -e /run/stop ]; do
    for disk; do tick "$disk" $number; done
    echo $number >/run/ticks
    number=$((number + 1))
  done
}

# What the agent runs for `virsh shutdown`.
printf '#!/bin/sh\nsync\npoweroff -f\n' >/sbin/shutdown
chmod 755 /sbin/shutdown

start_agent
control=/dev/ttyS1
stty -F $control raw -echo
exec <$control >$control 2>&1
while read -r word number line; do
  [ "$word" = RUN ] || continue
  eval "$line" </dev/null
  echo "==DONE $number $?"
done
poweroff -f
