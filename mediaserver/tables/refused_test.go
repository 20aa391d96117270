package tables

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Whom a manager does not take in, for the token of another cluster, say, is told so in one
// line, however often it tries; that there is a stream is said once the manager has taken it.
func TestWhoIsRefusedIsToldOnce(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		w.stop()
		var log bytes.Buffer
		w.config.Log = slog.New(slog.NewTextHandler(&log, nil))
		a := w.replicas[replicaA]
		a.mu.Lock()
		a.refuse = status.Error(codes.Unauthenticated, "show a token of this cluster")
		a.mu.Unlock()
		w.Subscriber = New(w.config, w.host)
		w.start(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if said := log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "show a token of this cluster") {
			t.Errorf("logged %q", said)
		}
		a.mu.Lock()
		a.refuse = nil
		a.mu.Unlock()
		time.Sleep(2 * lastRetry)
		synctest.Wait()
		a.last().send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Welcome{
			Welcome: &forwardingv1.Welcome{},
		}})
		synctest.Wait()
		if !strings.Contains(log.String(), `msg="stream to a manager"`) {
			t.Errorf("logged %q", log.String())
		}
	})
}
