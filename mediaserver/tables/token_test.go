package tables

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestARenewedTokenIsSaidToReplicasThatTakeIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	renew := func(token string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	renew("one")
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		w.stop()
		w.config.Token = managers.Credentials{TokenFile: path}.Token
		w.Subscriber = New(w.config, w.host)
		w.start(t)
		synctest.Wait()
		s := w.replicas[replicaA].last()
		expectSaid(t, s, "hello meetings/sfu-0", "report sora 2", "complete")

		renew("two")
		s.sendVersion(t, 5, false)
		expectSaid(t, s) // It has not said that it takes tokens.

		s.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Welcome{
			Welcome: &forwardingv1.Welcome{Features: []string{forwardingv1.FeatureToken}},
		}})
		s.sendVersion(t, 5, false)
		expectSaid(t, s, "token two")
		s.sendVersion(t, 5, false)
		expectSaid(t, s)

		// A file that cannot be read ends nothing.
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		s.sendVersion(t, 5, false)
		expectSaid(t, s)
		renew("three")
		s.sendVersion(t, 5, false)
		expectSaid(t, s, "token three")
	})
}
