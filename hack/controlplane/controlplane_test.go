package controlplane_test

import (
	"os/exec"
	"testing"

	"github.com/nagi-rtc/nagi/hack/controlplane"
)

func TestKubectlSeesTheInstalledKind(t *testing.T) {
	plane, err := controlplane.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})

	out, err := exec.CommandContext(t.Context(), plane.Kubectl, "--kubeconfig", plane.Kubeconfig, "get", "rsp").CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl get rsp: %v\n%s", err, out)
	}
}
