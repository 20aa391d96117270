//go:build linux && cluster

package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// documentedQuota is the command by which the documentation bounds a tenant's pauses.
var documentedQuota = regexp.MustCompile(`kubectl -n ` + tenant + ` create quota (\S+) --hard=(count/\S+?)=(\d+)`)

// tooSoon is how long a quota has no count that was made before kube-controller-manager knew of the type.
const tooSoon = 10 * time.Second

// upToTheQuota bounds the tenant's pauses as both documents say, and proves that there are so many, and no more.
func (r *reader) upToTheQuota(t *testing.T) {
	var said []string
	for _, document := range []string{"docs/install.md", "docs/operations.md"} {
		text, err := os.ReadFile(filepath.Join(r.dir, document))
		if err != nil {
			t.Fatal(err)
		}
		found := documentedQuota.FindStringSubmatch(string(text))
		if found == nil || said != nil && found[0] != said[0] {
			t.Fatalf("%s says %q, another document %q", document, found, said)
		}
		said = found
	}
	command, name, counts := said[0], said[1], corev1.ResourceName(said[2])
	most, err := strconv.Atoi(said[3])
	if err != nil {
		t.Fatal(err)
	}
	r.does(t, command)
	made := time.Now()
	await(t, "what there is to be counted", func() error {
		var quota corev1.ResourceQuota
		err := api.Get(t.Context(), client.ObjectKey{Namespace: tenant, Name: name}, &quota)
		if _, counted := quota.Status.Used[counts]; err != nil || counted {
			return err
		}
		if time.Since(made) > tooSoon { // kube-controller-manager did not know the type, as the document says.
			r.does(t, "kubectl -n "+tenant+" delete quota "+name, command)
			made = time.Now()
		}

		return fmt.Errorf("the quota's status is %+v", quota.Status)
	})
	of := client.MatchingLabels{"test": "quota"}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := api.DeleteAllOf(ctx, &v1alpha1.RtpStreamPause{}, client.InNamespace(tenant), of); err != nil {
			t.Error(err)
		}
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: name}}
		if err := api.Delete(ctx, quota); err != nil {
			t.Error(err)
		}
	})
	var before v1alpha1.RtpStreamPauseList
	if err := api.List(t.Context(), &before, client.InNamespace(tenant)); err != nil {
		t.Fatal(err)
	}
	for i := len(before.Items); i <= most; i++ {
		everybody := v1alpha1.Side{Everyone: &v1alpha1.Everyone{}}
		err := api.Create(t.Context(), &v1alpha1.RtpStreamPause{
			ObjectMeta: metav1.ObjectMeta{Namespace: tenant, GenerateName: "quota-", Labels: of},
			Spec:       v1alpha1.RtpStreamPauseSpec{ChannelID: "nobody-is-there", Receivers: everybody, Senders: everybody},
		})
		refused := apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: "+name)
		if i < most && err != nil || i == most && !refused {
			t.Fatalf("with %d pauses another one: %v", i, err)
		}
	}
}
