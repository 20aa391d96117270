//go:build linux && cluster

package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// view asks managers what is so, as a program does that may look.
type view struct{ credentials managers.Credentials }

// newView makes a ServiceAccount that may look, and takes what it needs to call managers.
func newView(t *testing.T) *view {
	t.Helper()
	kubectl(t, "--namespace=apps", "create", "serviceaccount", "observer")
	kubectl(t, "--namespace="+tenant, "create", "rolebinding", "observer", "--clusterrole=nagi-viewer",
		"--serviceaccount=apps:observer")
	dir := t.TempDir()
	v := &view{managers.Credentials{CAFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token")}}
	token := kubectl(t, "--namespace=apps", "create", "token", "observer", "--audience=nagi", "--duration=2h")
	if err := os.WriteFile(v.credentials.TokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}

	return v
}

// explain returns what managers know of an edge.
func (v *view) explain(t *testing.T, channel, receiver, sender string) (told *forwardingv1.Edge) {
	t.Helper()
	await(t, "somebody who knows the edge", func() (err error) {
		told, err = v.anybody(t.Context(), channel, receiver, sender)

		return err
	})

	return told
}

// anybody asks the managers, until one knows the edge.
func (v *view) anybody(ctx context.Context, channel, receiver, sender string) (*forwardingv1.Edge, error) {
	var config corev1.ConfigMap
	if err := api.Get(ctx, client.ObjectKey{Namespace: tenant, Name: "nagi-ca"}, &config); err != nil {
		return nil, err
	}
	if err := os.WriteFile(v.credentials.CAFile, []byte(config.Data["ca.crt"]), 0o600); err != nil {
		return nil, err
	}
	var all corev1.PodList
	if err := api.List(ctx, &all, client.InNamespace(system), client.MatchingLabels{
		"app.kubernetes.io/name": "nagi-manager",
	}); err != nil {
		return nil, err
	}
	problems := []error{errors.New("nobody knows the edge")}
	for _, pod := range all.Items {
		told, err := v.ask(ctx, pod.Name, channel, receiver, sender)
		if told != nil {
			return told, nil
		}
		problems = append(problems, err)
	}

	return nil, errors.Join(problems...)
}

func (v *view) ask(ctx context.Context, manager, channel, receiver, sender string) (*forwardingv1.Edge, error) {
	ctx, cancel := context.WithTimeout(ctx, patience/10)
	defer cancel()
	address, stop, err := forward(ctx, system, manager, "7300")
	if err != nil {
		return nil, err
	}
	defer stop()
	conn, err := managers.Dial(address,
		append(v.credentials.Options(), grpc.WithAuthority("nagi-manager."+system+".svc"))...)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stream, err := forwardingv1.NewViewClient(conn).Explain(ctx, &forwardingv1.ExplainRequest{
		Namespace: tenant, ChannelId: channel,
		Of: &forwardingv1.ExplainRequest_Edge{
			Edge: &forwardingv1.EdgeName{RecvConnectionId: receiver, SendConnectionId: sender},
		},
	})
	if err != nil {
		return nil, err
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s does not know the edge", manager)
		}
		if err != nil {
			return nil, err
		}
		for _, edge := range part.GetEdges() {
			return edge, nil
		}
	}
}

// forwarded is where kubectl says that it listens.
var forwarded = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) -> `)

// forward has kubectl lead an address of this machine to a pod's port, by way of the pod's kubelet: network policies
// keep everybody else from most ports.
func forward(ctx context.Context, namespace, pod, port string) (address string, stop func(), err error) {
	command := exec.CommandContext(ctx, "kubectl", "--namespace="+namespace, "port-forward", "pod/"+pod, ":"+port)
	command.WaitDelay = patience / 10
	output, err := command.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := command.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	found := forwarded.FindStringSubmatch(line)
	if found == nil {
		stop()

		return "", nil, fmt.Errorf("kubectl port-forward to %s says %q: %w", pod, line, err)
	}

	return found[1], stop, nil
}
