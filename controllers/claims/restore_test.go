package claims

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// elsewhere sends requests to another API server than they name.
type elsewhere struct {
	host string
	next http.RoundTripper
}

func (e *elsewhere) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.URL.Host, request.Host = e.host, e.host

	return e.next.RoundTrip(request)
}

// etcd comes back with older data, by an API server that is started on it: a claim that
// was released is there again, one that was made since is gone, and one that passed on is
// its former owner's. All follow what is there, and what is not right is claimed anew.
func TestARestoredEtcd(t *testing.T) {
	// It is stopped after the replica, whose watch it would wait for.
	stop := func() error { return nil }
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	namespace := newNamespace(t)
	r := follow(t, namespace)
	a, b := Holder{Name: "a"}, Holder{Name: "b"}
	r.claim(t, namespace, "released", a, &heard{})
	r.claim(t, namespace, "passed on", a, &heard{})

	// The copy is made while etcd stands still.
	etcd := plane.Environment.ControlPlane.Etcd
	backup := filepath.Join(t.TempDir(), "data")
	err := errors.Join(etcd.Stop(), os.CopyFS(backup, os.DirFS(etcd.DataDir)), os.Chmod(backup, 0o700), etcd.Start())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "claims are made again", func() bool {
		owner, _, err := r.Claim(t.Context(), namespace, Opening{"made", 1}, b, &heard{}, anybody)

		return err == nil && owner == b
	})
	r.claim(t, namespace, "passed on", b, &silentOne{name: "a"})
	if err := r.Release(t.Context(), namespace, opened(1, "released"), a); err != nil {
		t.Fatal(err)
	}
	until(t, "all of it is heard", func() bool {
		return r.owner("passed on") == b && r.owner("released") == Holder{} && r.Followed() == nil
	})

	restored, err := startOn(backup)
	if err != nil {
		t.Fatal(err)
	}
	restored.Config.QPS = -1
	transport, err := rest.TransportFor(restored.Config)
	if err != nil {
		t.Fatal(err)
	}
	stop = func() error {
		utilnet.CloseIdleConnectionsFor(transport)

		return restored.Stop()
	}
	host, err := url.Parse(restored.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	r.way.send(&elsewhere{cmp.Or(host.Host, restored.Config.Host), transport})
	// As the API server is stopped, its watches end.
	r.way.away.Store(true)
	renewByHand(t, namespace, "made")
	until(t, "the watch has ended", func() bool { return r.Followed() != nil })
	r.way.away.Store(false)
	until(t, "what came back is followed", func() bool {
		return r.Followed() == nil && r.owner("released") == a && r.owner("passed on") == a && r.owner("made") == Holder{}
	})

	// Each owner by what it knows: a finds that it owns what it has released and gives it
	// up again; b claims anew what it hosts.
	if err := r.Release(t.Context(), namespace, opened(1, "released"), a); err != nil {
		t.Error(err)
	}
	if owner := r.claim(t, namespace, "made", b, &heard{}); owner != b {
		t.Errorf("%v owns what was made", owner)
	}
	if owner := r.claim(t, namespace, "passed on", b, &silentOne{name: "a"}); owner != b {
		t.Errorf("%v owns what had passed on", owner)
	}
	until(t, "all of it is heard", func() bool {
		return r.owner("released") == Holder{} && r.owner("made") == b && r.owner("passed on") == b
	})
}
