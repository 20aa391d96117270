#!/usr/bin/env bash
# Writes one file that installs everything: an overlay of config/ with the images'
# names put in. Expects KUBEBUILDER_ASSETS, for kubectl.
set -euo pipefail

if [ $# != 4 ]; then
  echo "usage: $0 OVERLAY REGISTRY TAG FILE" >&2
  exit 2
fi
overlay=$1 registry=$2 tag=$3 file=$4
mkdir -p "$(dirname "$file")"
file=$(cd "$(dirname "$file")" && pwd)/$(basename "$file")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mkdir -p dist
work=$(mktemp -d dist/.installer.XXXXXX)
trap 'rm -rf "$work"' EXIT
cat >"$work/kustomization.yaml" <<OVERLAY
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../config/$overlay]
images:
  - {name: localhost/nagi-manager, newName: $registry/nagi-manager, newTag: "$tag"}
  - {name: localhost/nagi-shim, newName: $registry/nagi-shim, newTag: "$tag"}
  - {name: localhost/nagi-mediaserver, newName: $registry/nagi-mediaserver, newTag: "$tag"}
OVERLAY
"$KUBEBUILDER_ASSETS/kubectl" kustomize "$work" >"$work/install.yaml"
mv "$work/install.yaml" "$file"
