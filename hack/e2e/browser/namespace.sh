#!/usr/bin/env bash
# Runs a program in a network namespace of its own: loopback, which Firefox sends no
# media to, and one more address, which it does. The namespace has no way out and ends
# with the program. Needs root, or a system that gives its users user namespaces.
set -euo pipefail
root=()
[ "$(id -u)" = 0 ] || root=(--map-root-user)
exec unshare "${root[@]}" --net bash -euc '
  ip link set lo up
  # Both ends of the pair stay here, so that the interface has a carrier.
  ip link add media0 type veth peer name media1 2>/dev/null && ip link set media1 up || ip link add media0 type dummy
  ip address add 198.51.100.1/24 dev media0 # TEST-NET-2 (RFC 5737)
  ip link set media0 up
  ip route add default dev media0
  exec "$@"' bash "$@"
