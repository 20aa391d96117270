package main

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A media server dies without a word: it is out of touch for every manager until its pod is
// gone, and then for none, whoever of them is in office.
func TestEachManagerLearnsThatAPodIsGone(t *testing.T) {
	api, kubeconfig, own, tenant := installed(t, "gone", "")
	var addresses, probes []string
	for range 2 {
		p := begin(t, "--kubeconfig="+kubeconfig, "--listen=0.0.0.0:0", "--lease-namespace="+own, "--namespaces="+tenant)
		_, listening, _ := strings.Cut(p.says(t, "what=grpc"), "address=")
		_, port, err := net.SplitHostPort(listening)
		if err != nil {
			t.Fatal(err)
		}
		addresses, probes = append(addresses, "127.0.0.1:"+port), append(probes, p.probes(t))
		readyz(t, probes[len(probes)-1], http.StatusOK, "ok")
		defer p.end(t)
	}
	outOfTouch := func(want string) {
		t.Helper()
		for _, each := range probes {
			end := time.Now().Add(patience)
			for {
				_, metrics := get(t, each+"/metrics")
				if strings.Contains(metrics, "\nnagi_mediaserver_out_of_touch "+want+"\n") {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s never told of %s out of touch", each, want)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	sfu := mounts(t, api, tenant, "nagi-mediaserver", "sfu-0")
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: tenant, Name: "nagi-mediaserver"}
	grant(t, api, tenant, "nagi-mediaserver", account, shipped(t, "mediaserver/role.yaml")["ClusterRole"])
	m := beginProgram(t, filepath.Join(filepath.Dir(program), "mediaserver"), "--managers="+strings.Join(addresses, ","),
		"--manager-ca="+sfu.CAFile, "--token-file="+sfu.TokenFile, "--namespace="+tenant, "--name=sfu-0",
		"--media-listen=127.0.0.1:0")
	for range addresses {
		m.says(t, "stream to a manager")
	}
	if err := m.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	outOfTouch("1")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "sfu-0"}}
	if err := api.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	outOfTouch("0")
}
