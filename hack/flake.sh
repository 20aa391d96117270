#!/usr/bin/env bash
# Runs the tests of packages many times, at the lowest priority, beside a load on every
# processor; every other time on one processor. What a test takes for granted about
# time, or about who runs when, fails then. The reports of failed runs stay in bin/flake.
#
#	hack/flake.sh [-n RUNS] [-run PATTERN] [PACKAGE...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

runs=20 pattern=.
while [ $# -gt 0 ]; do
  case $1 in
    -n) runs=$2 && shift 2 ;;
    -run) pattern=$2 && shift 2 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || set -- ./mediaserver/udp ./mediaserver/fanout ./mediaserver/rtc ./mediaserver/channel

race=
[ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC)" >/dev/null && race=-race

binaries=$(mktemp -d)
load=()
trap 'kill "${load[@]}" 2>/dev/null || true; rm -r "$binaries"' EXIT

mapfile -t packages < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "$@" | grep .)
for package in "${packages[@]}"; do
  echo "flake: building $package" >&2
  go test -c $race -o "$binaries/${package//\//.}" "$package"
done
# Tests against a real API server need its programs.
if go list -deps -test "${packages[@]}" | grep -q '/cmd/nagi/controlplane$'; then
  KUBEBUILDER_ASSETS=${KUBEBUILDER_ASSETS:-$(hack/controlplane/assets.sh)}
  export KUBEBUILDER_ASSETS
fi

# The load leaves the tests a third of the processors, and is out of the way of all else.
for ((i = 0; i < $(getconf _NPROCESSORS_ONLN); i++)); do
  nice -n 15 bash -c 'while :; do :; done' &
  load+=($!)
done

mkdir -p bin/flake
unsteady=0
for package in "${packages[@]}"; do
  name=${package//\//.} failed=0
  for ((run = 1; run <= runs; run++)); do
    report=$PWD/bin/flake/$name-$run.log
    (
      cd "$(go list -f '{{.Dir}}' "$package")"
      ((run % 2)) || export GOMAXPROCS=1
      exec nice -n 19 "$binaries/$name" -test.run "$pattern" -test.timeout 10m >"$report" 2>&1
    ) && rm "$report" && continue
    failed=$((failed + 1))
    echo "flake: $package: run $run failed: $report" >&2
    grep -E '^\s*--- FAIL|^panic:|^WARNING: DATA RACE' "$report" >&2 || true
  done
  echo "flake: $package: $failed of $runs runs failed"
  [ "$failed" = 0 ] || unsteady=1
done
exit "$unsteady"
