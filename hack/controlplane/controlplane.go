// Package controlplane is the old import path of cmd/nagi/controlplane.
package controlplane

import (
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

// ControlPlane is a running etcd and kube-apiserver.
type ControlPlane = controlplane.ControlPlane

// Start starts etcd and kube-apiserver.
func Start(options ...func(*envtest.Environment)) (*ControlPlane, error) {
	return controlplane.Start(options...)
}
