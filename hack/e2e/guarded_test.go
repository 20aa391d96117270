package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/certificates"
)

// watching is who asks the managers in the test's own name.
const watching = "test"

// mounted is where mount puts what kubelet would mount into a pod.
func (s *system) mounted(pod string) managers.Credentials {
	return managers.Credentials{CAFile: filepath.Join(s.dir, pod+".ca.crt"), TokenFile: filepath.Join(s.dir, pod+".token")}
}

// mount makes a pod with an account of its own that may do in its namespace what a
// role in config/rbac says, and writes what kubelet would mount into it: a token that
// is bound to it, and whom to trust.
func (s *system) mount(ctx context.Context, in, pod, file string) (managers.Credentials, error) {
	known := s.mounted(pod)
	r, err := shippedRole(file, pod)
	if err != nil {
		return known, err
	}
	meta := metav1.ObjectMeta{Namespace: in, Name: pod}
	account := &corev1.ServiceAccount{ObjectMeta: meta}
	body := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{
		ServiceAccountName: pod, Containers: []corev1.Container{{Name: "program", Image: "program"}},
	}}
	for _, object := range []client.Object{
		account, body, &rbacv1.Role{ObjectMeta: meta, Rules: r.rules},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: pod},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: in, Name: pod}},
		},
	} {
		if err := s.api.Create(ctx, object); err != nil {
			return known, fmt.Errorf("make the pod %s: %w", pod, err)
		}
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences:      []string{forwardingv1.Audience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod, UID: body.UID},
	}}
	if err := s.api.SubResource("token").Create(ctx, account, request); err != nil {
		return known, fmt.Errorf("make a token for %s: %w", pod, err)
	}
	trusted, err := s.trusted(ctx, in)

	return known, errors.Join(err,
		os.WriteFile(known.CAFile, []byte(trusted), 0o600),
		os.WriteFile(known.TokenFile, []byte(request.Status.Token), 0o600))
}

// trusted waits until the managers have told a namespace whom to trust.
func (s *system) trusted(ctx context.Context, in string) (string, error) {
	for {
		told := &corev1.ConfigMap{}
		err := s.api.Get(ctx, client.ObjectKey{Namespace: in, Name: certificates.Object}, told)
		if err == nil && told.Data["ca.crt"] != "" {
			return told.Data["ca.crt"], nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("whom to trust in %s: %w", in, errors.Join(err, ctx.Err()))
		}
		idle(ctx, 20*time.Millisecond)
	}
}

// guardedArgs are what a program says who it is by, where managers are guarded.
func (s *system) guardedArgs(ctx context.Context, pod, file string) ([]string, error) {
	if !s.layout.guarded {
		return nil, nil
	}
	known, err := s.mount(ctx, namespace, pod, file)

	return []string{"--manager-ca=" + known.CAFile, "--token-file=" + known.TokenFile}, err
}

// onLoopback is an address of this machine's as it is reached from here.
func onLoopback(address string) (string, error) {
	_, port, err := net.SplitHostPort(address)

	return net.JoinHostPort("127.0.0.1", port), err
}
