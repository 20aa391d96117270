package channel

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

// TestExpiryFollowsAWallClockThatIsSet: forward, so that a pause is over at once,
// and back, so that it acts again. Timers know nothing of that.
func TestExpiryFollowsAWallClockThatIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		config := Config{Changed: func(string) { told++ }, TableWait: time.Hour, WithoutTable: Hold}
		ch := newChannel("sora", 1, config, newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
		var set time.Duration
		ch.wall = func() time.Time { return time.Now().Add(set) }
		everyone := &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}}
		expiresAt := time.Now().Add(2 * time.Hour)
		expect := func(after, by time.Duration, want forwardingv1.State) {
			t.Helper()
			ch.mu.Lock()
			set = by
			before := told
			ch.mu.Unlock()
			time.Sleep(after)
			synctest.Wait()
			ch.mu.Lock()
			defer ch.mu.Unlock()
			if state := ch.matcher.State("1").GetState(); state != want || told == before {
				t.Errorf("the pause is %v, told %d times; want %v", state, told-before, want)
			}
		}

		ch.mu.Lock()
		ch.apply(tables.Table{Version: 1, Whole: true, Set: []*forwardingv1.Pause{{
			Uid: "1", Receivers: everyone, Senders: everyone, Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
			ExpiresAt: timestamppb.New(expiresAt),
		}}})
		ch.mu.Unlock()
		expect(recheck, 3*time.Hour, forwardingv1.State_STATE_EXPIRED)
		expect(recheck, 0, forwardingv1.State_STATE_NOT_MATCHING)
		expect(time.Until(expiresAt), 0, forwardingv1.State_STATE_EXPIRED)

		ch.mu.Lock()
		ch.close()
		ch.mu.Unlock()
	})
}
