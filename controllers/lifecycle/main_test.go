package lifecycle_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

// plane and k8s are set once, before the tests run.
var (
	plane *controlplane.ControlPlane
	k8s   client.Client
)

func TestMain(m *testing.M) {
	var err error
	if plane, err = controlplane.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	types := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(types)
	_ = scheme.AddToScheme(types)
	plane.Config.QPS = -1
	if k8s, err = client.New(plane.Config, client.Options{Scheme: types}); err != nil {
		panic(err)
	}
	code := m.Run()
	closeIdle()
	if err := plane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		// klog's daemon belongs to the process.
		if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// closeIdle closes the connections to the API server, which clients of equal
// credentials share and keep.
func closeIdle() {
	if transport, err := rest.TransportFor(plane.Config); err == nil {
		utilnet.CloseIdleConnectionsFor(transport)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
