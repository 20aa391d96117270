package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

const patience = 100 * time.Second

// plane and program are set once, before the tests run.
var (
	plane   *controlplane.ControlPlane
	program string
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	ctrl.SetLogger(logr.Discard()) // envtest's.
	dir, err := os.MkdirTemp("", "nagi-manager-")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "manager")
	if output, err := exec.CommandContext(context.Background(), "go", "build", "-o", dir, ".", "../mediaserver",
		"../shim").CombinedOutput(); err != nil {
		return failed(fmt.Errorf("build the programs: %w\n%s", err, output))
	}
	if plane, err = controlplane.Start(); err != nil {
		return failed(err)
	}
	code := m.Run()
	if err := plane.Stop(); err != nil {
		code = failed(err)
	}

	return code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)

	return 1
}

func TestFlagsAreChecked(t *testing.T) {
	for argument, want := range map[string]string{
		"--serving-names=a_b":     "--serving-names",
		"--serving-names=nagi":    "on loopback, where there is no TLS",
		"--tls-cert-dir=/nowhere": "on loopback, where there is no TLS",
		"--listen=7300":           "--listen",
		"--media-server-lost=-1s": "--media-server-lost",
		"--takeover-after=0s":     "--takeover-after",
		"--max-connections=0":     "--max-connections",
		"--namespaces=":           "namespace",
		"--namespaces=a,a":        "named twice",
		"--lease-namespace=":      "--lease-namespace",
		"--metrics-listen=x":      "--metrics-listen",
		"--kubeconfig=/nowhere":   "--kubeconfig",
		"extra":                   "no flag",
	} {
		t.Run(argument, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			output, err := exec.CommandContext(ctx, program, "--kubeconfig="+plane.Kubeconfig, "--listen=127.0.0.1:0",
				"--metrics-listen=127.0.0.1:0", argument).CombinedOutput()
			if err == nil || ctx.Err() != nil || !strings.Contains(string(output), want) {
				t.Errorf("ended with %v; want %q in\n%s", err, want, output)
			}
		})
	}
}

func TestRunsUntilSIGTERM(t *testing.T) {
	p := begin(t, "--kubeconfig="+plane.Kubeconfig)
	probes := p.probes(t)
	if code, text := get(t, probes+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, text)
	}
	readyz(t, probes, http.StatusOK, "ok")
	p.says(t, "in office")
	if code, text := get(t, probes+"/metrics"); code != http.StatusOK ||
		!strings.Contains(text, "nagi_manager_in_office 1") {
		t.Errorf("/metrics: %d without the office", code)
	}
	p.end(t)
}

func TestWaitsForAnAbsentAPIServer(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, "+
		"context: {cluster: a}}], clusters: [{name: a, cluster: {server: 'http://%s'}}]}", listener.Addr())
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(absent, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	p := begin(t, "--kubeconfig="+absent)
	probes := p.probes(t)
	readyz(t, probes, http.StatusServiceUnavailable, `namespace "default"`)
	if code, _ := get(t, probes+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	p.end(t)
}

// readyz waits until the probe answers so.
func readyz(t *testing.T, probes string, want int, text string) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		code, body := get(t, probes+"/readyz")
		if code == want && strings.Contains(body, text) {
			return
		}
		select {
		case <-end:
			t.Fatalf("/readyz: %d %s; want %d %s", code, body, want, text)
		case <-tick.C:
		}
	}
}

// newUser is a user without any right, by its kubeconfig, and a client of somebody
// who may everything.
func newUser(t *testing.T, user string) (api client.Client, kubeconfig string) {
	t.Helper()
	types := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(types)
	_ = scheme.AddToScheme(types)
	api, err := client.New(plane.Config, client.Options{Scheme: types})
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := plane.Environment.AddUser(envtest.User{Name: user}, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := credentials.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, content, 0o600); err != nil {
		t.Fatal(err)
	}

	return api, kubeconfig
}

// roleOf is a role in the namespace default, for the election and the rules.
func roleOf(user string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	leases := rbacv1.PolicyRule{
		APIGroups: []string{coordinationv1.GroupName},
		Resources: []string{"leases"},
		Verbs:     []string{"get", "create", "update"},
	}

	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: user}, Rules: append(rules, leases)}
}

func bindingOf(user string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
}

// A tenant that bars the manager from its namespace makes it unready, and costs the
// others nothing: their statuses are written.
func TestOneNamespaceThatIsBarredStopsNoOther(t *testing.T) {
	const user = "halfway"
	api, kubeconfig := newUser(t, user)
	pause := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: user},
		Spec: v1alpha1.RtpStreamPauseSpec{
			ChannelID: user,
			Receivers: v1alpha1.Side{Everyone: &v1alpha1.Everyone{}},
			Senders:   v1alpha1.Side{ClientIDs: []string{"camera-3"}},
		}}
	for _, object := range []client.Object{
		roleOf(user,
			rbacv1.PolicyRule{
				APIGroups: []string{v1alpha1.GroupVersion.Group},
				Resources: []string{v1alpha1.Plural},
				Verbs:     []string{"list", "watch"},
			},
			rbacv1.PolicyRule{
				APIGroups: []string{v1alpha1.GroupVersion.Group},
				Resources: []string{v1alpha1.Plural + "/status"},
				Verbs:     []string{"patch"},
			}),
		bindingOf(user), pause,
	} {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	p := begin(t, "--kubeconfig="+kubeconfig, "--namespaces=default,barred")
	readyz(t, p.probes(t), http.StatusServiceUnavailable, `namespace "barred"`)
	end := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for pause.Status.ObservedGeneration != pause.Generation {
		select {
		case <-end:
			t.Fatalf("no status is written: %+v", pause.Status)
		case <-tick.C:
		}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(pause), pause); err != nil {
			t.Fatal(err)
		}
	}
	p.end(t)
}

// A manager that may read and not write serves, says that it cannot write, and
// leaves the lease to others.
func TestWhoMayNotWriteStatusServesAndSaysSo(t *testing.T) {
	const namespace, user = "default", "reader"
	api, kubeconfig := newUser(t, user)
	for _, object := range []client.Object{
		roleOf(user, rbacv1.PolicyRule{
			APIGroups: []string{v1alpha1.GroupVersion.Group},
			Resources: []string{v1alpha1.Plural},
			Verbs:     []string{"list", "watch"},
		}),
		bindingOf(user),
		&v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pause"},
			Spec: v1alpha1.RtpStreamPauseSpec{
				ChannelID: "lobby",
				Receivers: v1alpha1.Side{Everyone: &v1alpha1.Everyone{}},
				Senders:   v1alpha1.Side{ClientIDs: []string{"camera-3"}},
			}},
	} {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	p := begin(t, "--kubeconfig="+kubeconfig)
	probes := p.probes(t)
	readyz(t, probes, http.StatusOK, "ok\nthe elected part gave up at ")
	readyz(t, probes, http.StatusOK, "bind the role nagi-manager")
	if _, text := get(t, probes+"/metrics"); !strings.Contains(text, "nagi_manager_gave_up_total 1") ||
		!strings.Contains(text, "nagi_manager_in_office 0") {
		t.Error("/metrics does not tell")
	}
	var lease coordinationv1.Lease
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "nagi-manager"}, &lease); err != nil ||
		lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" {
		t.Errorf("the lease is held by %v: %v", lease.Spec.HolderIdentity, err)
	}
	p.end(t)
}

// A manager that cannot have the lease serves, and says that nobody can elect it.
func TestWhoCannotHaveTheLeaseServesAndSaysSo(t *testing.T) {
	const user = "bystander"
	api, kubeconfig := newUser(t, user)
	role := roleOf(user, rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group},
		Resources: []string{v1alpha1.Plural},
		Verbs:     []string{"list", "watch"},
	})
	role.Rules = role.Rules[:1] // The election's is the last.
	for _, object := range []client.Object{role, bindingOf(user)} {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	p := begin(t, "--kubeconfig="+kubeconfig)
	probes := p.probes(t)
	readyz(t, probes, http.StatusOK, "ok\nthis manager cannot be elected to write status: the lease default/nagi-manager")
	readyz(t, probes, http.StatusOK,
		"bind the role nagi-manager to the manager's ServiceAccount in --lease-namespace=default")
	p.says(t, "this manager cannot be elected to write status")
	if _, text := get(t, probes+"/metrics"); !strings.Contains(text, "nagi_manager_unelectable 1") {
		t.Error("/metrics does not tell")
	}
	p.end(t)
}

func TestReadinessNamesABoundNumberOfUndecodableObjects(t *testing.T) {
	if err := actOnNobody(nil); err != nil {
		t.Errorf("of none: %v", err)
	}
	names := make([]string, namedUndecodable+3)
	for i := range names {
		names[i] = fmt.Sprintf("default/p%d: no time", i)
	}
	err := actOnNobody(names)
	if err == nil || !strings.Contains(err.Error(), "p19: no time; and 3 more; mend") ||
		strings.Contains(err.Error(), "p20") {
		t.Errorf("of many: %v", err)
	}
}
