#!/usr/bin/env bash
# Generates everything again and fails, with a diff, when that changed a file.
# What is uncommitted is compared like what is committed: the question is
# whether the generated files follow from their sources. The new ones stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT

for folder in api config; do
  cp -R "$folder" "$before/"
done

# Or the code of a type that is gone would stay.
rm -r api/v1alpha1/applyconfiguration

make generate manifests

failed=0
for folder in api config; do
  diff -ruN "$before/$folder" "$folder" || failed=1
done
if [ "$failed" = 1 ]; then
  echo 'verify: generated files did not follow from their sources; they do now: commit them' >&2
fi

if ! go mod tidy -diff; then
  echo 'verify: go.mod or go.sum is not tidy: run go mod tidy' >&2
  failed=1
fi
exit "$failed"
