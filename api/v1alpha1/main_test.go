package v1alpha1_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

const namespace = "default"

// One API server serves the whole package; TestMain alone sets these.
var (
	plane *controlplane.ControlPlane
	api   client.Client
	// lenient is what a client says that asks for no strictness: the API server
	// drops fields that it does not know.
	lenient client.Client
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err == nil && code == 0 {
		// klog's daemon belongs to the process.
		err = goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if plane, err = controlplane.Start(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()

	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return 1, err
	}
	plane.Config.QPS = -1
	plain, err := client.New(plane.Config, client.Options{Scheme: scheme})
	if err != nil {
		return 1, err
	}
	// As strict as kubectl: an unknown field is an error.
	api = client.WithFieldValidation(plain, metav1.FieldValidationStrict)
	lenient = client.WithFieldValidation(plain, metav1.FieldValidationIgnore)

	code = m.Run()
	// Clients of equal credentials share the connections to the API server, and keep them.
	transport, err := rest.TransportFor(plane.Config)
	if err == nil {
		utilnet.CloseIdleConnectionsFor(transport)
	}

	return code, err
}

// pause makes an object with the given spec, in YAML, that no Go type has
// touched: what a person or a GitOps tool sends.
func pause(t testing.TB, name, spec string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	document := "metadata: {namespace: " + namespace + "}\nspec: " + strings.TrimSpace(spec) + "\n"
	if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
		t.Fatalf("the test's own YAML: %v\n%s", err, document)
	}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RtpStreamPause"))
	object.SetName(name)

	return object
}

// stored creates such an object, whose name begins with prefix, and deletes it when
// the test ends.
func stored(t testing.TB, prefix, spec string) *unstructured.Unstructured {
	t.Helper()
	object := pause(t, "", spec)
	object.SetGenerateName(prefix + "-")
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), object); client.IgnoreNotFound(err) != nil {
			t.Errorf("deleting %s: %v", object.GetName(), err)
		}
	})

	return object
}
