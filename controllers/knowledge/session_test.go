package knowledge

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// holding is what a media server holds of one channel by what it was told.
type holding struct {
	version uint64
	digests map[string]Digest
}

// take applies a table as a media server does.
func (h *holding) take(fatal func(string, ...any), table *Table) {
	if table.Base == 0 {
		h.digests = map[string]Digest{}
	} else if table.Base != h.version {
		fatal("a difference to version %d, and %d is held", table.Base, h.version)
	}
	for _, o := range table.Set {
		h.digests[string(o.UID)] = Digest(tables.Digest(o))
	}
	for _, uid := range table.Removed {
		if _, has := h.digests[uid]; !has {
			fatal("%s is removed, and is not held", uid)
		}
		delete(h.digests, uid)
	}
	h.version = table.Version
}

// Whatever happens to objects, in whatever steps it is written, a stream is told
// what is so, and of nothing else.
func TestStreamsAreToldWhatIsSo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(Limits{})
		w.list(w.pause("initial"))
		s, err := w.Connect(Introduction{Name: "ms", Incarnation: "first"}, start)
		if err != nil {
			t.Fatal(err)
		}
		streamed := map[string]*holding{"lobby": {}, "hall": {}}
		epoch := map[string]uint64{}
		write := func(most int) {
			for range most {
				next, ok := s.Next()
				if !ok {
					return
				}
				if next.Table != nil {
					streamed[next.Table.ChannelID].take(t.Fatalf, next.Table)
				}
			}
		}
		name := func(t *rapid.T) string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name") }
		t.Repeat(map[string]func(*rapid.T){
			"report": func(t *rapid.T) {
				id := rapid.SampledFrom([]string{"lobby", "hall"}).Draw(t, "channel")
				epoch[id]++
				if err := s.Report(reportOf(id, 1, epoch[id], epoch[id]-1, "R"), start); err != nil {
					t.Fatal(err)
				}
			},
			"resend": func(*rapid.T) { s.Resend("lobby") },
			"put": func(t *rapid.T) {
				n, reason := name(t), rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "reason")
				if w.objects[n] == nil {
					w.create(n, inChannel(rapid.SampledFrom([]string{"lobby", "hall"}).Draw(t, "channel")))
				} else {
					w.edit(n, func(o *held.Pause) { o.Spec.Reason = reason })
				}
			},
			"not understood": func(t *rapid.T) {
				if n := name(t); w.objects[n] != nil {
					w.edit(n, func(o *held.Pause) { o.Spec.Senders = held.Side{} })
				}
			},
			"status": func(t *rapid.T) {
				if n := name(t); w.objects[n] != nil {
					w.change(n, func(o *held.Pause) { o.Status.MediaServer += "x" })
				}
			},
			"remove": func(t *rapid.T) {
				if n := name(t); w.objects[n] != nil {
					w.remove(n)
				}
			},
			"replace": func(t *rapid.T) {
				n := name(t)
				if before := w.objects[n]; before != nil {
					w.objects[n] = w.pause(n)
					w.version++
					w.apply([]Change{{Before: before}, {After: w.objects[n]}}, w.version)
				}
			},
			"write": func(t *rapid.T) { write(rapid.IntRange(1, 3).Draw(t, "messages")) },
			"ask":   func(*rapid.T) { s.Ask(&Ask{ChannelID: "lobby"}) },
			"": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "look") > 0 {
					return
				}
				write(1000)
				for id, h := range streamed {
					if epoch[id] == 0 {
						continue
					}
					want := map[string]Digest{}
					for _, o := range w.objects {
						if digest, _ := content(o); o.Spec.ChannelID == id && digest != (Digest{}) {
							want[string(o.UID)] = digest
						}
					}
					if !maps.Equal(h.digests, want) {
						t.Fatalf("channel %s: held are %d pauses, %d are there", id, len(h.digests), len(want))
					}
				}
			},
		})
	})
}

func TestQuestionsGoOutAfterWhatIsKnownOfTheirChannel(t *testing.T) {
	w := listed()
	s := w.stream(t, "ms", start, reportOf("lobby", 4, 1, 0, "R"), reportOf("hall", 5, 1, 0, "X"))
	drain(s)
	for i := range 50 {
		w.create(fmt.Sprint("hall-", i), inChannel("hall"))
	}
	w.create("u")
	ask := &Ask{ChannelID: "lobby"}
	s.Ask(ask)
	s.Ask(&Ask{ChannelID: "unknown"})
	var order []string
	for _, o := range drain(s) {
		switch {
		case o.Table != nil:
			order = append(order, "table of "+o.Table.ChannelID)
		case o.Ask == ask:
			order = append(order, fmt.Sprintf("question of instance %d at version %v", o.Instance, o.AskVersion == w.version))
		case o.Ask != nil:
			order = append(order, fmt.Sprintf("question of instance %d", o.Instance))
		}
	}
	// Questions and tables take turns.
	want := []string{"table of lobby", "question of instance 4 at version true", "table of hall", "question of instance 0"}
	if !slices.Equal(order, want) {
		t.Errorf("written were %q, want %q", order, want)
	}
}

func TestTheVersionIsStatedAfterTheChangesUpToIt(t *testing.T) {
	w := listed()
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R"))
	w.create("a")
	drain(s)
	s.StateVersion()
	stated := w.version
	w.create("b")
	out := drain(s)
	if len(out) != 2 || out[0].Version.GetVersion() != stated || out[1].Table == nil {
		t.Errorf("written were %+v", out)
	}
	w.store.mu.Lock()
	w.store.stale = true
	w.store.mu.Unlock()
	w.turn()
	w.create("c")
	if out = drain(s); len(out) != 2 || !out[0].Version.GetStale() || !out[1].Table.Stale {
		t.Errorf("written of a stale replica were %+v", out)
	}
}

func TestWhatWaitsForADeafStreamIsBounded(t *testing.T) {
	w := listed()
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R"))
	drain(s)
	for range tables.MaxPauses + 10 {
		w.create("brief")
		w.remove("brief")
	}
	if h := s.server.channels["lobby"]; len(h.dirty) > tables.MaxPauses || len(s.queue) > 3 {
		t.Errorf("%d pauses in %d places wait", len(h.dirty), len(s.queue))
	}
	for i := range 2 * notes {
		must(t, s.Report(reportOf(fmt.Sprint(i%notes), 1, 2, 1), start))
	}
	if len(s.notes) > notes || !s.Crowded() {
		t.Errorf("%d answers wait", len(s.notes))
	}
	drain(s)
	if s.Crowded() {
		t.Error("it is not read from any more")
	}
}

// The oldest act, as tables.Admit says, however the channel came to have so many.
func TestTheOldestActAsAdmitSays(t *testing.T) {
	w := newWorld(Limits{})
	var first []*held.Pause
	for i := range tables.MaxPauses - 1 {
		first = append(first, w.pause(fmt.Sprintf("pause-%05d", i)))
	}
	slices.Reverse(first)
	w.list(first...)
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R"))
	streamed := &holding{}
	look := func(what string, changed ...string) {
		t.Helper()
		acting, refused := tables.Admit(slices.Collect(maps.Values(w.objects)))
		for _, next := range drain(s) {
			if next.Table != nil {
				if changed != nil && len(next.Table.Set)+len(next.Table.Removed) > len(changed) {
					t.Errorf("%s: %d set and %d removed", what, len(next.Table.Set), len(next.Table.Removed))
				}
				streamed.take(t.Fatalf, next.Table)
			}
		}
		want := map[types.UID]bool{}
		for _, o := range acting {
			want[o.UID] = true
		}
		for uid := range streamed.digests {
			if !want[types.UID(uid)] {
				t.Errorf("%s: %s acts", what, uid)
			}
		}
		if len(streamed.digests) != len(want) {
			t.Errorf("%s: %d act, want %d", what, len(streamed.digests), len(want))
		}
		for _, o := range refused {
			if got := w.Judge(o, time.Time{}, start).Reason; got != v1alpha1.ReasonLimitExceeded {
				t.Errorf("%s: %s is %s", what, o.Name, got)
			}
		}
	}
	w.create("last-that-acts")
	look("at the bound")
	w.create("first-beyond")
	look("beyond", []string{}...)
	w.create("oldest", func(o *held.Pause) { o.CreatedUnixSecond = start.Add(-24 * time.Hour).Unix() })
	look("an old one comes back", "oldest", "last-that-acts")
	w.told()
	w.remove("pause-00007")
	look("one goes", "pause-00007", "last-that-acts")
	if told := w.told(); !slices.Equal(told, []string{"last-that-acts", "pause-00007"}) {
		t.Errorf("told of %v", told)
	}
	w.remove("pause-00008")
	w.told()
	if v := w.Judge(w.objects["first-beyond"], time.Time{}, start); v.Reason == v1alpha1.ReasonLimitExceeded {
		t.Error("the younger does not act though there is room")
	}
}

func TestWhoIsToldOfWhat(t *testing.T) {
	w := newWorld(Limits{})
	var all []*held.Pause
	for i := range 100 {
		all = append(all, w.pause(fmt.Sprintf("pause-%02d", i), inChannel(fmt.Sprintf("channel-%02d", i/10))))
	}
	w.list(all...)
	if told := w.told(); len(told) != 100 {
		t.Errorf("the list tells of %d", len(told))
	}
	expect := func(what string, want int) {
		t.Helper()
		lows := w.lows
		if told := w.told(); len(told) != want || want > 50 && lows < want {
			t.Errorf("%s: told of %d, %d low; want %d", what, len(told), lows, want)
		}
	}
	states := map[string]forwardingv1.State{}
	for i := range 10 {
		states[fmt.Sprintf("pause-%02d", i)] = notMatching
	}
	s := w.stream(t, "ms", start, reportOf("channel-00", 1, 1, 0, "R"))
	expect("a first report", 0)
	w.acknowledge(t, s, "channel-00", 1, 1, start, states)
	expect("acknowledged", 10)
	w.acknowledge(t, s, "channel-00", 1, 1, start, states)
	expect("acknowledged again", 0)
	states["pause-03"] = matching
	w.acknowledge(t, s, "channel-00", 1, 1, start, states)
	expect("one matches", 1)
	w.edit("pause-44", func(o *held.Pause) { o.Spec.Reason = "x" })
	expect("an edit elsewhere", 1)

	// A short loss tells nobody of anything; nor does the complete report after it.
	s.Close(start)
	w.pass(start.Add(time.Second))
	s = w.stream(t, "ms", start.Add(2*time.Second), reportOf("channel-00", 1, 1, 0, "R"))
	w.acknowledge(t, s, "channel-00", 1, 1, start, states)
	w.pass(start.Add(4 * time.Second))
	expect("a short loss", 0)

	// A longer one concerns all that is armed, once, and its end those that were judged.
	s.Close(start.Add(10 * time.Second))
	w.pass(start.Add(10*time.Second + LossGrace))
	expect("a loss of 5 s", 100)
	w.pass(start.Add(12*time.Second + LossGrace))
	expect("time passes", 0)
	for _, o := range []string{"pause-03", "pause-77"} {
		if v := w.Judge(w.objects[o], time.Time{}, start.Add(20*time.Second)); v.Reason != v1alpha1.ReasonMediaServerLost ||
			!v.LostSince.Equal(start.Add(10*time.Second)) {
			t.Errorf("%s is judged %+v", o, v)
		}
	}
	w.stream(t, "ms", start.Add(30*time.Second), reportOf("channel-00", 1, 1, 0, "R"))
	if told := w.told(); len(told) > 11 || !slices.Contains(told, "pause-77") || !slices.Contains(told, "pause-03") {
		t.Errorf("its end tells of %v", told)
	}

	// A channel that opens tells when its table is not acknowledged after a second.
	opened := w.stream(t, "other", start.Add(40*time.Second), reportOf("channel-05", 1, 1, 0, "R"))
	w.told()
	w.pass(start.Add(42 * time.Second))
	expect("not acknowledged for 2 s", 10)
	must(t, opened.Report(&forwardingv1.ChannelReport{ChannelId: "channel-05", Instance: 1, Closed: true},
		start.Add(43*time.Second)))
	expect("closed", 10)
}

// A version that waits behind tables is not below theirs when it is written: a
// replica that goes back is taken for one that follows a restored backup.
func TestAVersionIsNotBelowThatOfTablesBeforeIt(t *testing.T) {
	w := listed()
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R"))
	drain(s)
	said := func(what string, want uint64) {
		t.Helper()
		var got []uint64
		for _, next := range drain(s) {
			if next.Table != nil {
				got = append(got, next.Table.Version)
			} else {
				got = append(got, next.Version.GetVersion())
			}
		}
		if !slices.Equal(got, []uint64{want, want}) {
			t.Errorf("%s: said were the versions %v, want a table and a statement of %d", what, got, want)
		}
	}
	w.create("u")
	s.StateVersion()
	w.create("v")
	said("a change came before either was written", w.version)

	w.create("x")
	s.StateVersion()
	w.version = 1
	w.create("y")
	said("restored before either was written", 2)
	w.create("z")
	s.StateVersion()
	said("gone on", 3)
}

func TestWhoReadsNoTablesIsNotReadFrom(t *testing.T) {
	w := listed()
	s := w.stream(t, "ms", start)
	drain(s)
	cycles := uint64(0)
	for ; cycles < 2*notes && !s.Crowded(); cycles++ {
		must(t, s.Report(reportOf("lobby", cycles+1, 1, 0, "R"), start))
		must(t, s.Report(&forwardingv1.ChannelReport{ChannelId: "lobby", Instance: cycles + 1, Closed: true}, start))
	}
	if cycles != notes {
		t.Errorf("%d tables of channels that have ended wait", cycles)
	}
	select {
	case <-s.Room():
	default:
	}
	drain(s)
	select {
	case <-s.Room():
	default:
		t.Error("written, and nobody is told of the room")
	}
	if s.Crowded() {
		t.Error("still crowded, though all is written")
	}
}

// What a stream begins by saying is one cause for many pauses: it must not hold up
// the changes of others.
func TestAStreamThatComesIsToldAsLow(t *testing.T) {
	w := listed()
	w.create("pause")
	w.told()
	expect := func(what string, told, lows int) {
		t.Helper()
		low := w.lows
		if names := w.told(); len(names) != told || low != lows {
			t.Errorf("%s: told of %v, %d low, want %d and %d", what, names, low, told, lows)
		}
	}
	matching := map[string]forwardingv1.State{"pause": forwardingv1.State_STATE_MATCHING}
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	expect("it comes", 0, 0)
	w.pass(start.Add(settles))
	expect("it has yet to acknowledge", 1, 1)
	w.acknowledge(t, s, "lobby", 1, 1, start, matching)
	expect("it acknowledges", 1, 1)
	w.edit("pause", func(o *held.Pause) { o.Spec.Reason = "edited" })
	expect("an edit", 1, 0)
	w.acknowledge(t, s, "lobby", 1, 1, start, matching)
	expect("its acknowledgement", 1, 0)
}
