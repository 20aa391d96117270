package certificates

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// rootsKey is where the Secret has the roots, with their keys.
const rootsKey = "roots.pem"

// +kubebuilder:rbac:groups="",namespace=default,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=default,resources=secrets,resourceNames=nagi-ca,verbs=get;update

// authority is our certificate authority as a manager knows it. All managers write it,
// each on top of what it has just read: of two that write at once, the API server
// refuses one, which looks again.
type authority struct {
	secrets coreclient.SecretInterface
	config  *Config
	// roots and secret are those of the last look.
	roots  roots
	secret *corev1.Secret
}

// look reads the authority, and makes what is missing: a first root, the next one when
// it is time, and another one beside those known here where the Secret is gone, which is
// how somebody who does not trust a root any longer has it replaced.
func (a *authority) look(ctx context.Context) (roots, error) {
	now := time.Now()
	secret, err := a.secrets.Get(ctx, Object, metav1.GetOptions{})
	var stored roots
	switch {
	case apierrors.IsNotFound(err):
		secret = nil
	case err != nil:
		return nil, fmt.Errorf("read the certificate authority from the Secret %s/%s: %w", a.config.Namespace, Object, err)
	default:
		if stored, err = decode(secret.Data[rootsKey]); err != nil {
			return nil, fmt.Errorf("the Secret %s/%s holds no certificate authority of ours: %w; delete it, "+
				"and managers make a new one", a.config.Namespace, Object, err)
		}
	}
	rs := stored.union(a.roots.current(now, a.config.Lifetimes)).current(now, a.config.Lifetimes)
	if secret == nil || rs.needsNext(now, a.config.Lifetimes) {
		next, err := newRoot(now, a.config.Lifetimes.Root)
		if err != nil {
			return nil, err
		}
		a.config.Log.Info("a new certificate authority", "subject", next.certificate.Subject.CommonName,
			"until", next.certificate.NotAfter)
		rs = append(rs, next)
	}
	a.secret = secret
	if secret == nil || !rs.equal(stored) {
		if err := a.store(ctx, rs); err != nil {
			return nil, err
		}
	}
	a.roots = rs

	return rs, nil
}

// tell notes that clients have been given all roots of the last look.
func (a *authority) tell(ctx context.Context) error {
	told, changed := a.roots.told(time.Now(), a.config.Lifetimes)
	if !changed {
		return nil
	}
	if err := a.store(ctx, told); err != nil {
		return err
	}
	a.roots = told

	return nil
}

// store writes the roots on top of the Secret of the last look.
func (a *authority) store(ctx context.Context, rs roots) error {
	text, err := rs.encode()
	if err != nil {
		return err
	}
	var written *corev1.Secret
	if a.secret == nil {
		written, err = a.secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name: Object, Labels: map[string]string{"app.kubernetes.io/managed-by": "nagi-manager"},
			},
			Type: corev1.SecretTypeOpaque, Data: map[string][]byte{rootsKey: text},
		}, metav1.CreateOptions{})
	} else {
		changed := a.secret.DeepCopy()
		changed.Data = map[string][]byte{rootsKey: text}
		written, err = a.secrets.Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write the certificate authority into the Secret %s/%s: %w", a.config.Namespace, Object, err)
	}
	a.secret = written

	return nil
}

func (rs roots) equal(other roots) bool {
	if len(rs) != len(other) {
		return false
	}
	for i := range rs {
		if !rs[i].same(other[i]) || !rs[i].signsFrom.Equal(other[i].signsFrom) {
			return false
		}
	}

	return true
}
