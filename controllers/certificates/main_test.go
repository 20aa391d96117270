package certificates

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

// plane, core and rbac are set once, before the tests run.
var (
	plane *controlplane.ControlPlane
	core  *coreclient.CoreV1Client
	rbac  *rbacclient.RbacV1Client
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)

		return 1
	}
	var err error
	if plane, err = controlplane.Start(); err != nil {
		return fail(err)
	}
	plane.Config.QPS = -1
	core, rbac = coreclient.NewForConfigOrDie(plane.Config), rbacclient.NewForConfigOrDie(plane.Config)
	code := m.Run()
	if transport, err := rest.TransportFor(plane.Config); err == nil {
		utilnet.CloseIdleConnectionsFor(transport)
	}
	if err := plane.Stop(); err != nil {
		return fail(err)
	}
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil {
			return fail(err)
		}
	}

	return code
}
