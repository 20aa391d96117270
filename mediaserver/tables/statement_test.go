package tables

import (
	"testing"
	"testing/synctest"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestPartsActOnlyWhenWhole(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		synctest.Wait()
		s.said()
		s.sendTable(t, more(table(5, "u1")))
		s.sendTable(t, more(table(5, "u2")))
		expectTables(t, w)
		// Another channel's table may stand between.
		w.hosts("other", "x")
		synctest.Wait()
		s.sendTable(t, &forwardingv1.Table{ChannelId: "other", Instance: 2, Version: 5})
		expectTables(t, w, "5 whole")
		s.sendTable(t, table(5, "u3"))
		expectTables(t, w, "5 whole", "5 whole u1 u2 u3")
		s.sendTable(t, more(removing(difference(5, 6), "u1")))
		expectTables(t, w, "5 whole", "5 whole u1 u2 u3")
		s.sendTable(t, difference(5, 6, "u4"))
		expectTables(t, w, "5 whole", "5 whole u1 u2 u3", "6 u4 -u1")
		expectSaid(t, s, "report other 1", "ack other 5 0", "ack sora 5 3", "ack sora 6 +1 -1")
	})
}

func TestWhatFitsNoTableIsAskedForAnew(t *testing.T) {
	for name, wrong := range map[string]func() []*forwardingv1.Table{
		"another base": func() []*forwardingv1.Table { return []*forwardingv1.Table{difference(4, 6, "u9")} },
		"another base, parts": func() []*forwardingv1.Table {
			return []*forwardingv1.Table{more(difference(4, 6, "u9")), difference(4, 6)}
		},
		"mixed parts": func() []*forwardingv1.Table {
			return []*forwardingv1.Table{more(difference(5, 6, "u9")), more(difference(5, 7, "u8")), difference(5, 7, "u7")}
		},
		"mixed whole parts": func() []*forwardingv1.Table {
			return []*forwardingv1.Table{more(table(6, "u9")), more(table(7, "u8")), table(7)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
				s := w.replicas[replicaA].last()
				w.hosts("other", "x")
				synctest.Wait()
				s.sendTable(t, table(5, "u1"))
				s.sendTable(t, &forwardingv1.Table{ChannelId: "other", Instance: 2, Version: 5})
				synctest.Wait()
				s.said()
				for _, part := range wrong() {
					s.sendTable(t, part)
				}
				expectSaid(t, s, "resend sora")
				// Differences that were under way are not asked about again.
				s.sendTable(t, difference(7, 8, "u6"))
				expectSaid(t, s)
				// The other channel goes on, on the same stream.
				s.sendTable(t, &forwardingv1.Table{ChannelId: "other", Instance: 2, Version: 6, BaseVersion: 5,
					Set: []*forwardingv1.Pause{pause("o1", 1)}})
				expectSaid(t, s, "ack other 6 +1 -0")
				s.sendTable(t, more(table(9, "u1")))
				s.sendTable(t, table(9, "u5"))
				expectSaid(t, s, "ack sora 9 +1 -0")
				s.sendTable(t, difference(9, 10))
				expectSaid(t, s, "ack sora 10 +0 -0")
				if n := w.replicas[replicaA].count(); n != 1 {
					t.Errorf("%d streams, want the first one to live", n)
				}
			})
		})
	}
}

func TestMalformedPausesAreLeftOutAlone(t *testing.T) {
	long := make([]string, 600)
	for i := range long {
		long[i] = string(make([]byte, 255))
	}
	for name, test := range map[string]struct {
		reason string
		spoil  func(*forwardingv1.Pause)
	}{
		"no uid":          {"no_uid", func(p *forwardingv1.Pause) { p.Uid = "" }},
		"no digest":       {"digest", func(p *forwardingv1.Pause) { p.Digest = nil }},
		"a long digest":   {"digest", func(p *forwardingv1.Pause) { p.Digest = make([]byte, 17) }},
		"no kinds":        {"kinds", func(p *forwardingv1.Pause) { p.Kinds = nil }},
		"no time":         {"expiry", func(p *forwardingv1.Pause) { p.ExpiresAt = &timestamppb.Timestamp{Nanos: -1} }},
		"too many ids":    {"oversized", func(p *forwardingv1.Pause) { p.GetReceivers().GetConnectionIds().Ids = long }},
		"too much to say": {"oversized", func(p *forwardingv1.Pause) { p.Reason = string(make([]byte, maxPauseBytes)) }},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
				s := w.replicas[replicaA].last()
				s.sendTable(t, table(5, "u1", "u2"))
				synctest.Wait()
				s.said()
				bad := difference(5, 6, "u1", "u3")
				test.spoil(bad.Set[0])
				s.sendTable(t, bad)
				want := "6 u3 -u1"
				if test.reason == "no_uid" {
					want = "6 u3"
				}
				expectTables(t, w, "5 whole u1 u2", want)
				var counted dto.Metric
				if err := w.metrics.malformed.WithLabelValues(test.reason).Write(&counted); err != nil ||
					counted.GetCounter().GetValue() != 1 {
					t.Errorf("%v malformed pauses by reason %q are counted, want 1", counted.GetCounter().GetValue(), test.reason)
				}
			})
		})
	}
}

// What a pause asks for is the Host's matter: it says NOT_UNDERSTOOD.
func TestWhatIsNotKnownHereIsHandedOn(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		strange := table(5, "u1", "u2")
		strange.Set[0].Receivers = nil
		strange.Set[1].Kinds = []forwardingv1.Kind{9}
		w.replicas[replicaA].last().sendTable(t, strange)
		expectTables(t, w, "5 whole u1 u2")
	})
}

func TestMalformedMessagesAreDroppedAndTheStreamLives(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		s := w.replicas[replicaA].last()
		expectSaid(t, s, "hello meetings/sfu-0", "report sora 2", "complete")
		s.sendTable(t, &forwardingv1.Table{})
		s.sendTable(t, table(0, "u1"))
		s.sendTable(t, &forwardingv1.Table{ChannelId: "elsewhere", Version: 3})
		s.send(t, &forwardingv1.SubscribeResponse{})
		s.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Welcome{
			Welcome: &forwardingv1.Welcome{Features: []string{"unheard-of"}},
		}})
		expectSaid(t, s)
		expectApplied(t, w)
		s.sendTable(t, table(8, "u1"))
		expectSaid(t, s, "ack sora 8 1")
	})
}

func TestStreamsShareEqualPauses(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		w.replicas[replicaA].last().sendTable(t, table(5, "u1", "u2"))
		synctest.Wait()
		other := table(5, "u1", "u2")
		other.Set[1] = pause("u2", 2)
		w.replicas[replicaB].last().sendTable(t, other)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		var tables []map[string]*forwardingv1.Pause
		for st := range w.streams {
			tables = append(tables, st.exchanges["sora"].statement.pauses)
		}
		if tables[0]["u1"] != tables[1]["u1"] || tables[0]["u2"] == tables[1]["u2"] {
			t.Error("equal pauses are there twice, or another content counts as equal")
		}
		if held := w.channels["sora"].held.pauses; held["u1"] != tables[0]["u1"] {
			t.Error("what is held is not what was stated")
		}
	})
}

// A change costs what changed: neither the Host nor the choice walks the table.
func TestOnlyWhatDiffersIsLookedAt(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a, b := w.replicas[replicaA].last(), w.replicas[replicaB].last()
		a.sendTable(t, table(5, "u1", "u2", "u3"))
		synctest.Wait()
		b.sendTable(t, table(5, "u1", "u2", "u3"))
		edited := difference(5, 6)
		edited.Set = []*forwardingv1.Pause{pause("u2", 2)}
		b.sendTable(t, edited)
		expectTables(t, w, "5 whole u1 u2 u3", "6 u2")
		w.mu.Lock()
		for st := range w.streams {
			want := 0
			if st.address == replicaA {
				want = 1
			}
			if differs := st.exchanges["sora"].statement.differs; len(differs) != want {
				t.Errorf("%s differs in %v from the table held, want %d", st.address, differs, want)
			}
		}
		w.mu.Unlock()
		again := difference(5, 6)
		again.Set = []*forwardingv1.Pause{pause("u2", 2)}
		a.sendTable(t, again)
		expectTables(t, w, "5 whole u1 u2 u3", "6 u2")
	})
}
