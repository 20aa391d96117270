//go:build linux && cluster

// Package cluster tests what is installed, on a cluster of real nodes: hack/cluster/run.sh makes one and runs these
// tests beside it, `make e2e-cluster` does both. They install by the words of the documentation, and prove by what
// arrives at clients that pauses hold while pods are deleted, nodes drained and certificates replaced.
package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	// patience bounds every wait for a condition; none is expected to come near.
	patience = 2 * time.Minute
	// The namespaces of config/default.
	system = "nagi-system"
	tenant = "meetings"
)

// directory is that of the cluster: hack/cluster writes it.
var directory = os.Getenv("NAGI_CLUSTER")

// api speaks to the cluster as its administrator. Set by TestMain, and not changed after.
var api client.WithWatch

var (
	rounds   = flag.Int("rounds", 10, "how often each fault is repeated")
	channels = flag.Int("channels", 12, "how many channels there are")
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	failed := func(err error) int {
		fmt.Fprintln(os.Stderr, "cluster:", err)

		return 1
	}
	if directory == "" {
		return failed(fmt.Errorf("no cluster: run these tests by `make e2e-cluster`"))
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return failed(err)
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return failed(err)
	}
	// Or the files would be watched for changes, by goroutines that never end.
	config.CAFile, config.CertFile, config.KeyFile = "", "", ""
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.NewAggregate([]error{
		v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme),
		coordinationv1.AddToScheme(scheme),
	}); err != nil {
		return failed(err)
	}
	asking, err := rest.HTTPClientFor(config)
	if err != nil {
		return failed(err)
	}
	if api, err = client.NewWithWatch(config, client.Options{Scheme: scheme, HTTPClient: asking}); err != nil {
		return failed(err)
	}
	code := m.Run()
	utilnet.CloseIdleConnectionsFor(asking.Transport)
	if err := goleak.Find(); err != nil {
		return failed(err)
	}

	return code
}

// kubectl runs kubectl as the cluster's administrator, and returns what it prints.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()

	return kubectlWith(t, "", arguments...)
}

// kubectlWith is kubectl with something at its standard input.
func kubectlWith(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, "kubectl", arguments...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}

	return strings.TrimSpace(string(output))
}

// await waits until a condition has nothing to complain of.
func await(t *testing.T, what string, condition func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("waited for %s in vain: %v\n%s", what, err, kubectl(t, "get", "pods", "--all-namespaces", "--output=wide"))
		}
	}
}
