package controlplane_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) != "" {
		if err := startInside(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}

		return
	}
	goleak.VerifyTestMain(m)
}

func TestKubectlSeesTheInstalledKind(t *testing.T) {
	if err := startAndAsk(); err != nil {
		t.Fatal(err)
	}
}

// startAndAsk starts a control plane, lists pauses with its kubectl and stops it.
func startAndAsk() (err error) {
	plane, err := controlplane.Start()
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := plane.Stop(); err == nil {
			err = stopErr
		}
	}()

	out, err := exec.Command(plane.Kubectl, "--kubeconfig", plane.Kubeconfig, "get", "rsp").CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl get rsp: %w\n%s", err, out)
	}

	return nil
}

// Nothing that fails at the start ends in a bare time-out.
func TestStartErrorsNameTheirCause(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*envtest.Environment)
		want  []string
	}{
		"a flag that kube-apiserver does not know": {
			func(e *envtest.Environment) { e.ControlPlane.GetAPIServer().Configure().Set("no-such-flag", "x") },
			[]string{"the last lines of kube-apiserver:", "unknown flag: --no-such-flag"},
		},
		"a file that kube-apiserver does not find": {
			func(e *envtest.Environment) {
				e.ControlPlane.GetAPIServer().Configure().Set("audit-policy-file", "/no/such/policy")
			},
			[]string{"the last lines of kube-apiserver:", "/no/such/policy: no such file or directory"},
		},
		"a directory that etcd cannot make": {
			func(e *envtest.Environment) {
				e.ControlPlane.Etcd.Configure().Set("data-dir", "/dev/null/etcd")
			},
			[]string{"the last lines of etcd:", "open /dev/null/etcd: not a directory"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plane, err := controlplane.Start(test.spoil)
			if err == nil {
				t.Fatal("it started all the same:", plane.Stop())
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}
