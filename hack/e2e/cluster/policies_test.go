//go:build linux && cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The ports that lie behind network policies, and what lies outside them.
const (
	managerGRPC    = "a manager's gRPC"
	managerMetrics = "a manager's metrics"
	shimHTTP       = "a shim's HTTP API"
	shimMetrics    = "a shim's metrics"
	signalingPort  = "a media server's signalling"
	mediaMetrics   = "a media server's metrics"
	unnamedPort    = "a port of a pod that is none of ours in nagi-system"
	strangersPort  = "a port of a pod that no policy is about"
	apiServer      = "the API server"
	nameServer     = "the name server"
)

// whoReachesWhom is what the policies of config/network-policy are to bring about: who opens a TCP connection to what
// is named here, and to nothing else. Each port is named for somebody, but for the one that nobody has business with.
var whoReachesWhom = map[string][]string{
	"a stranger":      {shimHTTP, signalingPort, apiServer, nameServer},
	"another machine": {shimHTTP, signalingPort, strangersPort},
	"a scraper of metrics": {
		managerMetrics, shimMetrics, mediaMetrics, shimHTTP, signalingPort, apiServer, nameServer, strangersPort,
	},
	"a tenant's media server":     {managerGRPC, shimHTTP, signalingPort, apiServer, nameServer, strangersPort},
	"none of ours in nagi-system": {},
	"a manager":                   {apiServer},
	"a shim":                      {managerGRPC, apiServer, nameServer},
	"a media server":              {managerGRPC, signalingPort, nameServer},
}

// networkPolicies proves that the network lets nobody through but those whom the policies name. Pods of several kinds
// open connections, those of ours among them, each from its own network: what one is refused another one gets, so that
// it is a policy that refuses.
func networkPolicies(t *testing.T) {
	const monitoring, lessons, listening = "monitoring", "lessons", "9999"
	for _, namespace := range []string{monitoring, lessons} {
		kubectl(t, "create", "namespace", namespace)
	}
	kubectl(t, "label", "namespace", monitoring, "rtp.nagi.dev/metrics=scraper")
	stranger, unnamed := startIdle(t, "apps", ""), startIdle(t, system, "")
	ours := func(namespace, name string) []corev1.Pod {
		var pods corev1.PodList
		if err := api.List(t.Context(), &pods, client.InNamespace(namespace),
			client.MatchingLabels{"app.kubernetes.io/name": name}); err != nil || len(pods.Items) < 2 {
			t.Fatalf("%d pods of %s: %v", len(pods.Items), name, err)
		}

		return pods.Items
	}
	managers, shims := ours(system, "nagi-manager"), ours(system, "nagi-shim")
	mediaServers := ours(tenant, "nagi-mediaserver")
	sources := map[string]string{
		"a stranger": networkOf(t, stranger), "another machine": "/proc/self/ns/net",
		"none of ours in nagi-system": networkOf(t, unnamed),
		"a scraper of metrics":        networkOf(t, startIdle(t, monitoring, "")),
		"a tenant's media server":     networkOf(t, startIdle(t, lessons, "nagi-mediaserver")),
		"a manager":                   networkOf(t, &managers[0]),
		"a shim":                      networkOf(t, &shims[0]),
		"a media server":              networkOf(t, &mediaServers[0]),
	}
	targets := map[string]string{
		managerGRPC: managers[1].Status.PodIP + ":7300", managerMetrics: managers[1].Status.PodIP + ":9301",
		shimHTTP: shims[1].Status.PodIP + ":3000", shimMetrics: shims[1].Status.PodIP + ":9302",
		signalingPort: mediaServers[1].Status.PodIP + ":5000", mediaMetrics: mediaServers[1].Status.PodIP + ":9303",
		unnamedPort: unnamed.Status.PodIP + ":" + listening, strangersPort: stranger.Status.PodIP + ":" + listening,
		apiServer:  serviceAddress(t, "default", "kubernetes"),
		nameServer: serviceAddress(t, "kube-system", "kube-dns"),
	}
	for _, pod := range []*corev1.Pod{stranger, unnamed} {
		listenIn(t, pod, listening)
	}
	await(t, "the policies to be in force", func() error {
		var (
			mu       sync.Mutex
			problems []error
			trying   errgroup.Group
		)
		trying.SetLimit(16) // The kernel tells of few refusals a second: of others only the time-out does.
		for who, network := range sources {
			for what, address := range targets {
				if isNoCase(who, what) {
					continue
				}
				trying.Go(func() error {
					opened, err := opens(t.Context(), network, address)
					if want := slices.Contains(whoReachesWhom[who], what); err == nil && opened != want {
						err = fmt.Errorf("%t, want %t", opened, want)
					}
					if err != nil {
						mu.Lock()
						defer mu.Unlock()
						problems = append(problems, fmt.Errorf("%s reaches %s (%s): %w", who, what, address, err))
					}

					return nil
				})
			}
		}

		err := trying.Wait()

		return errors.Join(append(problems, err)...)
	})
}

// isNoCase tells whether nothing is to be learnt of whether one reaches the other.
func isNoCase(who, what string) bool {
	switch who {
	case "a stranger":
		return what == strangersPort // It is the same pod.
	case "none of ours in nagi-system":
		return what == unnamedPort // It is the same pod.
	case "another machine":
		return what == apiServer || what == nameServer // Services are of pods and nodes.
	default:
		// kube-router lets a policy's pods open to each other what the policy lets anybody open to them.
		return who == "a shim" && what == shimHTTP
	}
}

// startIdle starts a pod that does nothing, in whose network the test does something. It is removed when the test ends.
func startIdle(t *testing.T, namespace, name string) *corev1.Pod {
	t.Helper()
	yes, no, grace := true, false, int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: "idle-", Labels: map[string]string{"app.kubernetes.io/name": name},
		},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken:  &no,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "idle", Image: "localhost/pause:dev", SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
	// A namespace that is new may not have its ServiceAccount yet.
	await(t, "the pod to be taken", func() error { return api.Create(t.Context(), pod) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := api.Delete(ctx, pod); err != nil {
			t.Error(err)
		}
	})
	await(t, "the pod to run", func() error {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
			return fmt.Errorf("it is %+v", pod.Status)
		}

		return nil
	})

	return pod
}

// networkOf is the file of a pod's network namespace.
func networkOf(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		groups, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(groups), "/pod"+string(pod.UID)+"/") {
			return filepath.Join(filepath.Dir(file), "ns/net")
		}
	}
	t.Fatalf("no process of %s is found", pod.Name)

	return ""
}

// opens tells whether a TCP connection from a network to an address opens.
func opens(ctx context.Context, network, address string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	command := exec.CommandContext(ctx, "nsenter", "--net="+network, "timeout", "2", "bash", "-c",
		"exec 3<>/dev/tcp/"+host+"/"+port)
	output, err := command.CombinedOutput()
	if err == nil || strings.Contains(string(output), "/dev/tcp/") || command.ProcessState.ExitCode() == 124 {
		return err == nil, nil
	}

	return false, fmt.Errorf("open a connection: %w\n%s", err, output) // It has not come so far.
}

// listenIn listens at a port of a pod's until the test ends.
func listenIn(t *testing.T, pod *corev1.Pod, port string) {
	t.Helper()
	type result struct {
		net.Listener

		err error
	}
	listening := make(chan result)
	go func() {
		runtime.LockOSThread() // For ever: the thread ends with the goroutine, since it is in another network.
		network, err := os.Open(networkOf(t, pod))
		if err != nil {
			listening <- result{err: err}

			return
		}
		defer network.Close()
		if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
			listening <- result{err: err}

			return
		}
		listener, err := net.Listen("tcp4", "0.0.0.0:"+port)
		listening <- result{listener, err}
	}()
	listener := <-listening
	if listener.err != nil {
		t.Fatalf("listen in the network of %s: %v", pod.Name, listener.err)
	}
	t.Cleanup(func() { _ = listener.Close() })
}
