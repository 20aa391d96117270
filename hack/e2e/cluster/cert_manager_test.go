//go:build linux && cluster

package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// certManager has cert-manager issue what managers serve with, in place of their own authority, and renew it: everybody
// comes to be ready by it, and its renewal drops no stream and interrupts nobody.
func (r *reader) certManager(t *testing.T, v *view) {
	startBeside(t, "cert-manager", "--kubeconfig="+os.Getenv("KUBECONFIG"))
	r.run(t, `kubectl apply --server-side --filename="$(cd hack/tools/crds && go list -m -f '{{.Dir}}' `+
		`github.com/cert-manager/cert-manager)/deploy/crds"`)
	own := trusted(t)
	began := time.Now()
	r.addComponent(t, "cert-manager")
	first := awaitCertificate(t, nil)
	if now := trusted(t); now == own {
		t.Fatal("clients are told to trust the managers' own authority")
	}
	// Whoever starts now has nothing else to know managers by.
	kubectl(t, "--namespace="+tenant, "rollout", "restart", "statefulset/nagi-mediaserver")
	kubectl(t, "--namespace="+system, "rollout", "restart", "deployment/nagi-shim")
	report(map[string]any{"cert_manager": "installed", "seconds": awaitReady(t, began).Seconds()})

	l := newLesson(t, r, "certificates")
	await(t, "everybody to get everybody", func() error { return l.flows(time.Now().Add(-time.Second)) })
	l.pause(t, v)
	joins, streams := joinsOf([]*lesson{l}), streamsOf(t)
	l.silence()
	began = time.Now()
	kubectl(t, "--namespace="+system, "delete", "secret", "nagi-manager-tls")
	awaitCertificate(t, first)
	took := time.Since(began)
	began = time.Now()
	await(t, "media after the renewal", func() error { return errors.Join(l.flows(began), l.enforced(t.Context())) })
	leaked, unclaimed := l.video.leaks()
	silence := l.silence()
	report(map[string]any{
		"cert_manager": "renewed", "seconds": took.Seconds(), "leaked": leaked + unclaimed,
		"silence_seconds": silence.Seconds(), "streams": streams,
	})
	if leaked+unclaimed > 0 {
		t.Errorf("%d packets left on a paused edge", leaked+unclaimed)
	}
	if now := joinsOf([]*lesson{l}); now != joins {
		t.Errorf("clients have connected %d times again", now-joins)
	}
	if now := streamsOf(t); now != streams {
		t.Errorf("media servers' streams to managers, and those that have ended, were %s, and are %s", streams, now)
	}
}

// trusted is by what clients in the tenant's namespace are told to know managers.
func trusted(t *testing.T) string {
	t.Helper()

	return kubectl(t, "--namespace="+tenant, "get", "configmap", "nagi-ca", "--output=jsonpath={.data.ca\\.crt}")
}

// awaitCertificate waits until the managers serve with what cert-manager has issued, another certificate than an
// earlier one, and clients are told by what to know it.
func awaitCertificate(t *testing.T, earlier []byte) (issued []byte) {
	t.Helper()
	await(t, "the managers to serve with cert-manager's certificate", func() error {
		var secret corev1.Secret
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: system, Name: "nagi-manager-tls"}, &secret); err != nil {
			return err
		}
		block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
		if block == nil || bytes.Equal(block.Bytes, earlier) {
			return errors.New("it has issued none")
		}
		issued = block.Bytes
		if authority := strings.TrimSpace(string(secret.Data["ca.crt"])); trusted(t) != authority {
			return errors.New("clients do not know its authority")
		}
		var pods corev1.PodList
		if err := api.List(t.Context(), &pods, client.InNamespace(system),
			client.MatchingLabels{"app.kubernetes.io/name": "nagi-manager"}); err != nil {
			return err
		}
		problems := make([]error, 0, len(pods.Items))
		for _, pod := range pods.Items {
			served, err := serves(t.Context(), pod.Name)
			if err == nil && !bytes.Equal(served, issued) {
				err = fmt.Errorf("%s serves with another one", pod.Name)
				// kubelet looks after a pod's files once in a minute or so, but at once when the pod changes.
				kubectl(t, "--namespace="+system, "annotate", "--overwrite", "pod", pod.Name, "seen="+time.Now().String())
			}
			problems = append(problems, err)
		}

		return errors.Join(problems...)
	})

	return issued
}

// serves is the certificate that a manager serves with.
func serves(ctx context.Context, manager string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience/10)
	defer cancel()
	address, stop, err := forward(ctx, system, manager, "7300")
	if err != nil {
		return nil, err
	}
	defer stop()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()

	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw, nil
}

// streamsOf tells how many streams to managers each media server has, and how many have ended, once each has one to
// every manager.
func streamsOf(t *testing.T) (told string) {
	t.Helper()
	await(t, "streams to both managers", func() error {
		told = ""
		for _, name := range []string{"nagi-mediaserver-0", "nagi-mediaserver-1", "nagi-mediaserver-2"} {
			page, err := metricsOf(t.Context(), tenant, name, "9303")
			if err != nil {
				return err
			}
			streams, ended := page["nagi_tables_streams"], page["nagi_tables_disconnects_total"]
			if streams != "2" || ended == "" {
				return fmt.Errorf("%s has %q streams, and %q have ended", name, streams, ended)
			}
			told += fmt.Sprintf("%s: %s, %s ended; ", name, streams, ended)
		}

		return nil
	})

	return told
}

// metricsOf are the values of a pod's metrics, by their names and labels.
func metricsOf(ctx context.Context, namespace, pod, port string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience/10)
	defer cancel()
	address, stop, err := forward(ctx, namespace, pod, port)
	if err != nil {
		return nil, err
	}
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	values := map[string]string{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if at := strings.LastIndexByte(lines.Text(), ' '); at > 0 && lines.Text()[0] != '#' {
			values[lines.Text()[:at]] = lines.Text()[at+1:]
		}
	}

	return values, lines.Err()
}
