#!/usr/bin/env bash
# Has kubeconform and kube-score judge everything that config/ installs, without a
# network: the schemas are those of the pinned kube-apiserver. Expects both in bin/tools
# and KUBEBUILDER_ASSETS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=dist/.check
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

module() { (cd hack/tools/crds && go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'); }
cert_manager=$(module github.com/cert-manager/cert-manager)
prometheus=$(module github.com/prometheus-operator/prometheus-operator)
gateway=$(module sigs.k8s.io/gateway-api)
go run ./hack/manifests/schemas "$work/schemas" "$cert_manager"/deploy/crds/cert-manager.io_{issuers,certificates}.yaml \
  "$prometheus"/example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml \
  "$gateway"/config/crd/standard/gateway.networking.k8s.io_udproutes.yaml

# Each overlay, and each component on top of the default.
for overlay in default single-node namespaced namespaced/cluster; do
  "$KUBEBUILDER_ASSETS/kubectl" kustomize "config/$overlay" >"$work/${overlay//\//-}.yaml"
done
for component in config/components/*/; do
  component=$(basename "$component")
  mkdir "$work/with"
  cat >"$work/with/kustomization.yaml" <<OVERLAY
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../../config/default]
components: [../../../config/components/$component]
OVERLAY
  "$KUBEBUILDER_ASSETS/kubectl" kustomize "$work/with" >"$work/with-$component.yaml"
  rm -r "$work/with"
done
"$KUBEBUILDER_ASSETS/kubectl" kustomize config/samples >"$work/samples.yaml"

# In a CRD, schemas may hold any field: the API server judges those (config's tests).
bin/tools/kubeconform -strict -summary -skip CustomResourceDefinition \
  -schema-location "$work/schemas/{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json" "$work"/*.yaml

# kube-score's findings that stay, each with its reason. Everything else it must find good.
justified=(
  # container-resources, for CPU alone: a limit would hold packets back in the middle of
  # a frame, and delay pauses; memory is limited.
  --ignore-container-cpu-limit
  # Images that were imported into a node, without a registry, cannot be pulled; tags are
  # not moved.
  --ignore-test container-image-pull-policy
  # topologySpreadConstraints spread over nodes and zones, which is what this asks for.
  --ignore-test deployment-has-host-podantiaffinity
)
failed=0
for manifest in "$work"/*.yaml; do
  more=()
  case $(basename "$manifest") in
    single-node.yaml) more=(--ignore-test deployment-replicas) ;; # One node has room for one.
    # The label by which a Service chooses one pod of a StatefulSet is given by its
    # controller, so no template has it.
    namespaced.yaml | with-load-balancer.yaml) more=(--ignore-test service-targets-pod) ;;
  esac
  bin/tools/kube-score score --exit-one-on-warning --output-format ci "${justified[@]}" ${more[@]+"${more[@]}"} "$manifest" >"$work/judgement" || failed=1
  grep -Ev '^\[(OK|SKIPPED)\]' "$work/judgement" | sed "s|^|$(basename "$manifest" .yaml): |" || true
done
if [ "$failed" = 1 ]; then
  echo 'kube-score finds what is neither mended nor justified in hack/manifests/check.sh' >&2
  exit 1
fi
