#!/usr/bin/env bash
# Says in one line why no cluster can be made on this machine; nothing if one can.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
  echo 'it needs root: it makes network namespaces and containers'
elif ! command -v apt-get >/dev/null; then
  echo 'it needs Debian, whose packages have containerd and the CNI plugins'
elif ! why=$(unshare --mount --net --pid --fork --mount-proc true 2>&1); then
  echo "it needs mount, network and PID namespaces: $why"
elif [ ! -e /proc/sys/net/bridge ] && ! modprobe --dry-run --quiet br_netfilter 2>/dev/null; then
  echo "it needs the kernel's br_netfilter, by which network policies hold between the pods of a node"
else
  # Version 2 has one hierarchy, version 1 one for each controller.
  roots=(/sys/fs/cgroup)
  [ -e /sys/fs/cgroup/cgroup.procs ] || roots=(/sys/fs/cgroup/*/)
  for root in "${roots[@]}"; do
    [ -e "$root/cgroup.procs" ] || continue
    made=yes
    group=${root%/}/nagi-lacking-$$
    if ! why=$(mkdir "$group" 2>&1 && rmdir "$group" 2>&1); then
      echo "it needs control groups: $why"
      exit 0
    fi
  done
  [ -n "${made:-}" ] || echo 'it needs control groups: none are mounted below /sys/fs/cgroup'
fi
