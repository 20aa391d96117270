package tables

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// sendInParts cuts a table as the protocol bounds it.
func (s *session) sendInParts(t *testing.T, table *forwardingv1.Table) {
	t.Helper()
	const perPart = 5000
	parts := slices.Collect(slices.Chunk(table.GetSet(), perPart))
	for i, pauses := range parts {
		part := &forwardingv1.Table{
			ChannelId: table.GetChannelId(), Instance: table.GetInstance(), Version: table.GetVersion(),
			BaseVersion: table.GetBaseVersion(), Set: pauses, More: i < len(parts)-1,
		}
		if size := proto.Size(part); size > forwardingv1.MaxMessageBytes {
			t.Fatalf("a part has %d bytes", size)
		}
		s.sendTable(t, part)
	}
}

// No number of pauses or connections ends a stream, and no message is larger than
// the protocol's bound, which each ledger checks.
func TestLargeChannels(t *testing.T) {
	const pauses, connections = 60_000, 20_000
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		ids := make([]string, connections)
		for i := range ids {
			ids[i] = fmt.Sprintf("%s-%020d", "connection", i)
		}
		w.hosts("sora", ids...)
		synctest.Wait()
		if n := len(a.ledger.channels["sora"].members); n != connections {
			t.Fatalf("%d connections are known to the replica, want %d", n, connections)
		}
		uids := make([]string, pauses)
		for i := range uids {
			uids[i] = fmt.Sprintf("00000000-0000-0000-0000-%012d", i)
		}
		a.sendInParts(t, table(7, uids...))
		b.sendInParts(t, table(7, uids...))
		expectStates := func(when string, states int) {
			t.Helper()
			synctest.Wait()
			for _, s := range []*session{a, b} {
				if e := s.ledger.channels["sora"]; !e.acknowledged || len(e.states) != states {
					t.Errorf("%s: %d states are acknowledged, want %d", when, len(e.states), states)
				}
			}
		}
		expectStates("the whole", pauses)
		// All of them match at once, then one is gone.
		w.hosts("sora", append(ids, "receiver")...)
		expectStates("a join", pauses)
		if state := b.ledger.channels["sora"].states[uids[0]]; state.GetState() != forwardingv1.State_STATE_MATCHING {
			t.Errorf("the first pause is %s, want it matching", state.GetState())
		}
		a.received, b.received = nil, nil
		a.sendTable(t, removing(difference(7, 8), uids[0]))
		expectStates("a deletion", pauses-1)
		expectSaid(t, a, "ack sora 8 +0 -1")
		if n := w.replicas[replicaA].count() + w.replicas[replicaB].count(); n != 2 {
			t.Errorf("%d streams, want the first two to live", n)
		}
	})
}
