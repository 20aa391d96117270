#!/usr/bin/env bash
# Prints the directory that holds etcd, kube-apiserver and kubectl; progress goes to stderr.
#
#   1. KUBEBUILDER_ASSETS, if it is set;
#   2. bin/k8s/VERSION, if an earlier run has filled it;
#   3. what setup-envtest downloads, if it can;
#   4. a build from the Go modules pinned beside this script (about five minutes on two cores, once).
#
# With the word "cluster" the directory is bin/k8s/VERSION, and holds all that a cluster with nodes is made of:
# kube-controller-manager, kube-scheduler, kubelet, kube-proxy, coredns, kube-router, cert-manager and prometheus too,
# which nobody else builds (twelve minutes more, once).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(awk '$1 == "k8s.io/kubernetes" {print substr($2, 2)} $2 == "k8s.io/kubernetes" {print substr($3, 2)}' "$here/kubernetes/go.mod" | head -n 1)
assets="$root/bin/k8s/$version"
wanted=${1:-}

say() { printf 'control plane: %s\n' "$*" >&2; }

complete() { [ -x "$1/etcd" ] && [ -x "$1/kube-apiserver" ] && [ -x "$1/kubectl" ]; }

if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -z "$wanted" ]; then
  if ! complete "$KUBEBUILDER_ASSETS"; then
    say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks etcd, kube-apiserver or kubectl; point it at a directory with all three, or unset it"
    exit 1
  fi
  echo "$KUBEBUILDER_ASSETS"
  exit 0
fi

mkdir -p "$assets"
# One builder at a time: a second make waits for the first instead of building the same again.
if command -v flock >/dev/null 2>&1; then
  exec 9>"$assets/.lock"
  flock 9
fi

download() {
  local downloaded
  say "trying to download Kubernetes $version with setup-envtest"
  if downloaded=$(cd "$root/hack/tools" && timeout 120 go tool setup-envtest use "$version" --bin-dir "$root/bin/envtest" -p path 2>"$assets/.download.log") &&
    complete "$downloaded"; then
    cp "$downloaded"/{etcd,kube-apiserver,kubectl} "$assets/"
  else
    say "no download ($(tail -n 1 "$assets/.download.log" | cut -c1-120)); building from Go modules, about five minutes the first time"
  fi
}

minor=${version#*.}
minor=${minor%%.*}
stamp=""
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  stamp+=" -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*} -X $package.gitMinor=$minor"
  stamp+=" -X $package.gitTreeState=clean -X $package.gitCommit=unknown -X $package.buildDate=1970-01-01T00:00:00Z"
done

build() { # build MODULE PACKAGE NAME [OPTION...]
  [ ! -x "$assets/$3" ] || return 0
  local start=$SECONDS log="$assets/.$3.log"
  say "building $3"
  (cd "$here/$1" && CGO_ENABLED=0 exec go build -trimpath -v -ldflags "-s -w$stamp" "${@:4}" -o "$assets/.$3.partial" "$2") >"$log" 2>&1 &
  local builder=$!
  # The shell keeps Ctrl-C from what runs in the background.
  trap 'kill "$builder" 2>/dev/null; exit 130' INT TERM HUP
  while kill -0 "$builder" 2>/dev/null; do
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
      kill -0 "$builder" 2>/dev/null || break
      sleep 1
    done
    kill -0 "$builder" 2>/dev/null && say "building $3: $(wc -l <"$log") packages compiled, $((SECONDS - start)) s"
  done
  if ! wait "$builder"; then
    say "building $3 failed:"
    tail -n 20 "$log" >&2
    exit 1
  fi
  trap - INT TERM HUP
  mv "$assets/.$3.partial" "$assets/$3"
  say "built $3 in $((SECONDS - start)) s"
}

complete "$assets" || download
build etcd go.etcd.io/etcd/server/v3 etcd
build kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver
build kubernetes k8s.io/kubernetes/cmd/kubectl kubectl
if [ "$wanted" = cluster ]; then
  for name in kube-controller-manager kube-scheduler kubelet kube-proxy; do
    build kubernetes "k8s.io/kubernetes/cmd/$name" "$name"
  done
  build coredns . coredns
  build kube-router . kube-router
  build cert-manager . cert-manager
  # Without its pages, and without the clients of all clouds.
  build prometheus github.com/prometheus/prometheus/cmd/prometheus prometheus -tags remove_all_sd,enable_kubernetes_sd
fi
echo "$assets"
