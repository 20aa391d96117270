package channel

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// TestEffectsAreWhatEachPauseSaysOfEachEdge holds the indexed computation against
// asking every pause about every pair of connections.
func TestEffectsAreWhatEachPauseSaysOfEachEdge(t *testing.T) {
	now := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		connections := drawConnections(t)
		table := drawTable(t, now)

		effects, union := newRoster(connections).effects(table, now)

		wantUnion := map[pair]kinds{}
		for i, pause := range table.GetPauses() {
			want := map[pair]bool{}
			for _, receiver := range connections {
				for _, sender := range connections {
					if forwardingv1.LiveEdge(receiver, sender) && pause.Matches(receiver, sender) && !pause.ExpiredAt(now) {
						names := pair{receiver.GetConnectionId(), sender.GetConnectionId()}
						want[names] = true
						wantUnion[names] |= kindsOf(pause.GetKinds()...)
					}
				}
			}
			got := map[pair]bool{}
			for _, names := range effects[i].edges {
				got[names] = true
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(pair{})); diff != "" {
				t.Errorf("edges of pause %d (-want +got):\n%s", i, diff)
			}
		}
		if diff := cmp.Diff(wantUnion, union, cmp.AllowUnexported(pair{})); diff != "" {
			t.Errorf("union (-want +got):\n%s", diff)
		}
	})
}

func drawConnections(t *rapid.T) []*forwardingv1.Connection {
	connections := make([]*forwardingv1.Connection, rapid.IntRange(0, 6).Draw(t, "connections"))
	for i := range connections {
		connections[i] = &forwardingv1.Connection{
			ConnectionId: fmt.Sprintf("connection-%d", i),
			ClientId:     rapid.SampledFrom([]string{"phone", "laptop", "connection-0"}).Draw(t, "client"),
			BundleId:     rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "bundle"),
			Role: rapid.SampledFrom([]forwardingv1.Role{
				forwardingv1.Role_ROLE_SENDRECV, forwardingv1.Role_ROLE_SENDONLY, forwardingv1.Role_ROLE_RECVONLY,
			}).Draw(t, "role"),
		}
	}

	return connections
}

func drawTable(t *rapid.T, now time.Time) *forwardingv1.Table {
	side := rapid.SampledFrom([][2]string{
		{}, {"connection-0"}, {"connection-1"}, {"connection-9"}, {"", "phone"}, {"", "laptop"}, {"", "nobody"},
	})
	table := &forwardingv1.Table{}
	for i := range rapid.IntRange(0, 5).Draw(t, "pauses") {
		receiver, sender := side.Draw(t, "receiver"), side.Draw(t, "sender")
		pause := &forwardingv1.Pause{
			Uid:              fmt.Sprint(i),
			RecvConnectionId: receiver[0], RecvClientId: receiver[1],
			SendConnectionId: sender[0], SendClientId: sender[1],
			Kinds: kinds(rapid.IntRange(1, 3).Draw(t, "kinds") << 1).list(),
		}
		if rapid.Bool().Draw(t, "expires") {
			pause.ExpiresAt = timestamppb.New(now.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "when")) * time.Second))
		}
		table.Pauses = append(table.Pauses, pause)
	}

	return table
}

func TestNextExpiryIsTheFirstThatIsStillToCome(t *testing.T) {
	now := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *forwardingv1.Pause {
		return &forwardingv1.Pause{ExpiresAt: timestamppb.New(now.Add(d))}
	}
	for name, c := range map[string]struct {
		pauses []*forwardingv1.Pause
		want   time.Duration
		none   bool
	}{
		"no pause":     {none: true},
		"no expiry":    {pauses: []*forwardingv1.Pause{{}}, none: true},
		"all expired":  {pauses: []*forwardingv1.Pause{at(-time.Hour), at(0)}, none: true},
		"the earliest": {pauses: []*forwardingv1.Pause{at(-time.Hour), at(time.Minute), {}, at(time.Second)}, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			next, ok := nextExpiry(&forwardingv1.Table{Pauses: c.pauses}, now)
			if ok == c.none || ok && next.Sub(now) != c.want {
				t.Errorf("got %v after now, %v; want %v, %v", next.Sub(now), ok, c.want, !c.none)
			}
		})
	}
}
