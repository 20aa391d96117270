package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/controllers/certificates"
)

// shipped are the rules of the roles in a file below config/rbac, by kind.
func shipped(t *testing.T, file string) map[string][]rbacv1.PolicyRule {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", file))
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, document := range strings.Split(strings.TrimPrefix(string(content), "---\n"), "\n---\n") {
		var role rbacv1.ClusterRole // A Role has the same rules.
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		rules[role.Kind] = append(rules[role.Kind], role.Rules...)
	}

	return rules
}

// grant lets the subject do this in a namespace; in all of them where it is empty.
func grant(t *testing.T, api client.Client, namespace, name string, subject rbacv1.Subject, rules []rbacv1.PolicyRule) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	objects := []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: rules},
		&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{
			APIGroup: rbacv1.GroupName, Kind: "Role", Name: name,
		}},
	}
	if namespace == "" {
		objects = []client.Object{
			&rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules},
			&rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{
				APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name,
			}},
		}
	}
	for _, object := range objects {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// installed is a manager's identity with the roles that are shipped, but for those
// about one resource, in namespaces of its own.
func installed(t *testing.T, user, without string) (api client.Client, kubeconfig, own, tenant string) {
	t.Helper()
	api, kubeconfig = newUser(t, user)
	own, tenant = user+"-own", user+"-tenant"
	for _, name := range []string{own, tenant} {
		if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	subject := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}
	roles := shipped(t, "manager/role.yaml")
	grant(t, api, own, user, subject, roles["Role"])
	grant(t, api, tenant, user, subject, roles["ClusterRole"])
	reviews := slices.DeleteFunc(shipped(t, "manager/reviews.yaml")["ClusterRole"], func(rule rbacv1.PolicyRule) bool {
		return rule.Resources[0] == without
	})
	grant(t, api, "", user, subject, reviews)

	return api, kubeconfig, own, tenant
}

// mounts writes what kubelet mounts into a pod of the account: the token, and the
// ConfigMap with what clients trust.
func mounts(t *testing.T, api client.Client, namespace, account, podName string) managers.Credentials {
	t.Helper()
	owner := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: podName}, Spec: corev1.PodSpec{
		ServiceAccountName: account, Containers: []corev1.Container{{Name: "program", Image: "program"}},
	}}
	for _, object := range []client.Object{owner, pod} {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences:      []string{forwardingv1.Audience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if err := api.SubResource("token").Create(t.Context(), owner, request); err != nil {
		t.Fatal(err)
	}
	var told corev1.ConfigMap
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: certificates.Object}, &told); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	known := managers.Credentials{CAFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token")}
	for path, content := range map[string]string{
		known.CAFile: told.Data["ca.crt"], known.TokenFile: request.Status.Token,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	return known
}

// The programs as they are installed: each under its shipped role, the manager where
// other machines reach it.
func TestWhereOthersReachItAManagerKnowsWhoCalls(t *testing.T) {
	api, kubeconfig, own, tenant := installed(t, "guarded", "")
	p := begin(t, "--kubeconfig="+kubeconfig, "--listen=0.0.0.0:0", "--lease-namespace="+own, "--namespaces="+tenant,
		"--serving-names=managers.nagi.svc")
	_, listening, _ := strings.Cut(p.says(t, "what=grpc"), "address=")
	_, port, err := net.SplitHostPort(listening)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + port
	readyz(t, p.probes(t), http.StatusOK, "ok")

	sfu := mounts(t, api, tenant, "nagi-mediaserver", "sfu-0")
	grant(t, api, tenant, "nagi-mediaserver", rbacv1.Subject{
		Kind: rbacv1.ServiceAccountKind, Namespace: tenant, Name: "nagi-mediaserver",
	}, shipped(t, "mediaserver/role.yaml")["ClusterRole"])
	shim := mounts(t, api, tenant, "nagi-shim", "shim-0")
	grant(
		t, api, tenant, "nagi-shim", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: tenant, Name: "nagi-shim"},
		shipped(t, "shim/role.yaml")["ClusterRole"],
	)

	beside := filepath.Dir(program)
	m := beginProgram(t, filepath.Join(beside, "mediaserver"), "--managers="+address, "--manager-ca="+sfu.CAFile,
		"--token-file="+sfu.TokenFile,
		"--namespace="+tenant, "--name=sfu-0", "--media-listen=127.0.0.1:0")
	_, signaling, _ := strings.Cut(m.says(t, "what=signaling"), "address=")
	readyz(t, m.probes(t), http.StatusOK, "ok")
	s := beginProgram(t, filepath.Join(beside, "shim"), "--kubeconfig="+plane.Kubeconfig, "--managers="+address,
		"--manager-ca="+shim.CAFile, "--token-file="+shim.TokenFile,
		"--namespace="+tenant)
	shimProbes := s.probes(t)
	_, shimAddress, _ := strings.Cut(s.says(t, "what=http"), "address=")
	readyz(t, shimProbes, http.StatusOK, "ok")
	pauseByHTTP(t, "ws://"+signaling+"/signaling", "http://"+shimAddress+"/")

	for name, options := range map[string]struct {
		dial []grpc.DialOption
		code codes.Code
	}{
		"a shim":              {shim.Options(), codes.InvalidArgument}, // It did not say of which pause.
		"a media server":      {sfu.Options(), codes.PermissionDenied}, // It may subscribe, and see nothing else.
		"TLS without a token": {append(sfu.Options()[:1:1], grpc.EmptyDialOption{}), codes.Unauthenticated},
		"plaintext": {
			[]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, codes.Unavailable,
		},
		"who trusts another CA": {
			managers.Credentials{CAFile: foreignCA(t), TokenFile: sfu.TokenFile}.Options(), codes.Unavailable,
		},
	} {
		connection, err := managers.Dial(address, options.dial...)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err = forwardingv1.NewViewClient(connection).WaitEnforced(ctx,
			&forwardingv1.WaitEnforcedRequest{Namespace: tenant})
		cancel()
		if status.Code(err) != options.code {
			t.Errorf("%s: %v, want %s", name, err, options.code)
		}
		_ = connection.Close()
	}
	s.end(t)
	m.end(t)
	p.end(t)
}

// pauseByHTTP has the shim pause a stream, and dismiss everybody: it looks clients up
// and waits for the acknowledgement by View, and dismisses by Control.
func pauseByHTTP(t *testing.T, signaling, shim string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ids := map[bot.Role]string{}
	for _, role := range []bot.Role{bot.RecvOnly, bot.SendOnly} {
		b, err := bot.Join(ctx, bot.Config{URL: signaling, ChannelID: "sora", Role: role})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Drop()
		ids[role] = b.ConnectionID()
	}
	post := func(target, body string) {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, shim, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Sora-Target", target)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s %v", target, response.StatusCode, text, err)
		}
	}
	post("Sora_20200401.PauseRtpStream", fmt.Sprintf(
		`{"channel_id": "sora", "recv_connection_id": %q, "send_connection_id": %q}`, ids[bot.RecvOnly], ids[bot.SendOnly],
	))
	post("Sora_20151104.DisconnectChannel", `{"channel_id": "sora"}`)
}

// foreignCA is a certificate authority of somebody else's: the API server's.
func foreignCA(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, plane.Config.CAData, 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

// A manager that may not review lets nobody in, so it says that it is not ready.
func TestWhoMayNotReviewIsNotReadyAndSaysSo(t *testing.T) {
	for _, resource := range []string{"tokenreviews", "subjectaccessreviews"} {
		t.Run(resource, func(t *testing.T) {
			_, kubeconfig, own, tenant := installed(t, "without-"+resource, resource)
			p := begin(t, "--kubeconfig="+kubeconfig, "--listen=0.0.0.0:0", "--lease-namespace="+own, "--namespaces="+tenant)
			readyz(t, p.probes(t), http.StatusServiceUnavailable, "may not create "+resource)
			p.end(t)
		})
	}
}

// Whoever reaches a manager holds so many connections and no more.
func TestConnectionsAreBounded(t *testing.T) {
	_, kubeconfig, own, tenant := installed(t, "bounded", "")
	p := begin(t, "--kubeconfig="+kubeconfig, "--listen=0.0.0.0:0", "--lease-namespace="+own, "--namespaces="+tenant,
		"--max-connections-per-address=2")
	_, listening, _ := strings.Cut(p.says(t, "what=grpc"), "address=")
	_, port, err := net.SplitHostPort(listening)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}

		return conn
	}
	within := []net.Conn{dial(), dial()}
	beyond := dial()
	if err := beyond.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The others have 10 s for their handshakes.
	if _, err := beyond.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a third connection stays: %v", err)
	}
	for _, conn := range append(within, beyond) {
		_ = conn.Close()
	}
	p.end(t)
}
