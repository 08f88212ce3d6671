#!/bin/busybox sh
# The guest's first process: brings up what the application needs and runs it. When the application ends, so does the VM.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2

# A disk keeps the application's files. One with nothing on it, and no other, is made ready first.
if [ -b /dev/vda ]; then
  [ -n "$(head -c 65536 /dev/vda | tr -d '\000')" ] || mke2fs /dev/vda >/dev/null
  mount -t ext4 /dev/vda /data && export FILES=/data
fi

# What the driver tells this one VM (ports, the agent's token) is on no command line: it comes through QEMU's fw_cfg, or in a
# second archive of this file system where the hypervisor has no such channel.
settings=/sys/firmware/qemu_fw_cfg/by_name/opt/tidegate/env/raw
[ -r "$settings" ] || settings=/tidegate/env
# Firecracker keeps it in a metadata service, and has no way to switch a machine off: it ends when its guest reboots.
end='poweroff -f'
if [ ! -r "$settings" ]; then
  end='reboot -f' settings=/run/env
  # Not by wget, which falls over names of hosts in a static busybox, given none.
  metadata() { printf '%s HTTP/1.1\r\nHost: m\r\n%s\r\n\r\n' "$1" "$2" | nc -w 2 169.254.169.254 80 | tr -d '\r' | sed '1,/^$/d'; }
  token=$(metadata 'PUT /latest/api/token' 'X-metadata-token-ttl-seconds: 60')
  (umask 077 && metadata 'GET /tidegate/env' "X-metadata-token: $token" > $settings)
fi
set -a
[ -r "$settings" ] && . "$settings"
set +a
rm -f /run/env
hostname "${TIDEGATE_INSTANCE:-tidegate}"

# Sets the clock and makes the kernel reseed when the agent says so. It keeps both ends of its pipes, so none is ever closed.
mkfifo -m 600 /run/mender.in /run/mender.out
mender <> /run/mender.in 1<> /run/mender.out 2>/dev/null &
export HOME=/ NODE_ENV=production TIDEGATE_MENDER=/run/mender
cd /app || $end

# An emulated processor translates each piece of code before it first runs it, and a clone does so from the start: what Node's
# compilers do, and what they make, costs there more than it brings.
grep -q 'QEMU Virtual CPU' /proc/cpuinfo && plain='--no-sparkplug --no-maglev --no-opt'
node --max-old-space-size=160 $plain "$(cat /app/main)"
echo "tidegate: the application ended with status $?"
$end
