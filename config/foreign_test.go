package config

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// foreign is a type of others' that a component uses: where the module that ships it
// has its CRD, and what that is called.
type foreign struct {
	module, path, name string
}

// foreigners are by component. hack/tools/crds pins their modules.
var foreigners = map[string][]foreign{
	"prometheus": {{
		"github.com/prometheus-operator/prometheus-operator",
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml", "podmonitors.monitoring.coreos.com",
	}},
	"stunner": {{
		"sigs.k8s.io/gateway-api",
		"config/crd/standard/gateway.networking.k8s.io_udproutes.yaml", "udproutes.gateway.networking.k8s.io",
	}},
	"cert-manager": {
		{"github.com/cert-manager/cert-manager", "deploy/crds/cert-manager.io_issuers.yaml", "issuers.cert-manager.io"},
		{"github.com/cert-manager/cert-manager", "deploy/crds/cert-manager.io_certificates.yaml",
			"certificates.cert-manager.io"},
	},
}

// install gives the API server the type, until the end.
func (f foreign) install(t *testing.T) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", f.module)
	command.Dir = "../hack/tools/crds"
	output, err := command.Output()
	if err != nil {
		t.Fatalf("find the module %s: %v\n%s", f.module, err, output)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(output, &module); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "--server-side", "-f", filepath.Join(module.Dir, f.path))
	awaitEstablished(t, f.name)
	t.Cleanup(func() {
		deletion := clients.RESTClient().Delete().AbsPath(definitions + f.name)
		if err := deletion.Do(context.WithoutCancel(t.Context())).Error(); err != nil {
			t.Errorf("delete the CRD %s: %v", f.name, err)
		}
	})
}

// definitions is where the API server has CRDs.
const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"

// awaitEstablished waits until the API server serves what a CRD defines.
func awaitEstablished(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text, err := clients.RESTClient().Get().AbsPath(definitions + name).Do(t.Context()).Raw()
		if err != nil {
			t.Fatal(err)
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := json.Unmarshal(text, &definition); err != nil {
			t.Fatal(err)
		}
		for _, condition := range definition.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the CRD %s is not established: %+v", name, definition.Status.Conditions)
		}
	}
}
