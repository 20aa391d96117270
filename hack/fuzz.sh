#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time (10s), one by one: a
# package may have several, and go test runs one at a time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

time=${1:-10s}
go list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}' ./... |
  while read -r package file; do
    [ -n "$package" ] || continue
    for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
      # By default each new input may be made smaller for a minute, in which nothing
      # is tried: a short run would do little else.
      echo "fuzz: $package $target for $time"
      go test -run '^$' -fuzz "^$target\$" -fuzzminimizetime 10x -fuzztime "$time" "$package" </dev/null
    done
  done
