#!/usr/bin/env bash
# Runs a command beside a cluster of three nodes on this machine: see main_linux.go. Installs what is absent from
# Debian's packages, which needs root, as all of this does, and builds the rest into bin/cluster. The nodes have the
# images that `make images` has made.
#
#   hack/cluster/run.sh bash    # kubectl is there; Ctrl-D removes everything
#   hack/cluster/run.sh         # installs and builds, no more
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

lacking=$("$root/hack/cluster/lacking.sh")
if [ -n "$lacking" ]; then
  echo "no cluster can be made here: $lacking" >&2
  exit 1
fi
need=()
command -v containerd >/dev/null || need+=(containerd)
command -v runc >/dev/null || need+=(runc)
[ -x /usr/lib/cni/bridge ] || need+=(containernetworking-plugins)
command -v iptables >/dev/null || need+=(iptables)
command -v ipset >/dev/null || need+=(ipset)
command -v nft >/dev/null || need+=(nftables)
command -v conntrack >/dev/null || need+=(conntrack)
command -v ip >/dev/null || need+=(iproute2)
command -v curl >/dev/null || need+=(curl)
if [ ${#need[@]} -gt 0 ]; then
  echo "installing ${need[*]}" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >&2
fi

# Packets from one pod of a node to another pass the filters of its network policies only with this. Nodes turn it on
# for themselves; this machine's own bridges stay as they were.
if [ ! -e /proc/sys/net/bridge ]; then
  modprobe br_netfilter
  echo 0 | tee /proc/sys/net/bridge/bridge-nf-call-{ip,ip6,arp}tables >/dev/null
fi

assets=$("$root/hack/controlplane/assets.sh" cluster)
work=$root/bin/cluster
mkdir -p "$work/images"
export CGO_ENABLED=0
(cd "$root" && go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/" ./hack/cluster/...)
(cd "$root/hack/images" && go run . --out="$work/images" pause="$work/pause" coredns="$assets/coredns" >/dev/null)
cp "$root"/dist/images/*.tar "$work/images/"
unset CGO_ENABLED

[ $# -gt 0 ] || exit 0
exec "$work/cluster" --assets="$assets" --images="$work/images" "$@"
