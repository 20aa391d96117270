package knowledge

import (
	"fmt"
	"runtime"
	"testing"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

// crowd is a tenant with that many objects, ten in each channel, and a thousand
// media servers that host the channels in equal shares.
func crowd(b *testing.B, objects int) (*world, []*Session) {
	b.Helper()
	w := newWorld(Limits{})
	all := make([]*held.Pause, objects)
	for i := range all {
		all[i] = w.pause(fmt.Sprintf("pause-%06d", i), inChannel(fmt.Sprintf("channel-%05d", i/10)), func(o *held.Pause) {
			o.Spec.Receivers.ConnectionIDs = []string{fmt.Sprintf("R%025d", i)}
			o.Spec.Senders.ConnectionIDs = []string{fmt.Sprintf("S%025d", i)}
			collected(o)
		})
	}
	w.list(all...)
	sessions := make([]*Session, 1000)
	for i := range sessions {
		var reports []*forwardingv1.ChannelReport
		for c := i; c < objects/10; c += len(sessions) {
			reports = append(reports, reportOf(fmt.Sprintf("channel-%05d", c), 1, 1, 0, fmt.Sprintf("C%025d", c)))
		}
		sessions[i] = w.stream(b, fmt.Sprintf("ms-%04d", i), start, reports...)
		drain(sessions[i])
	}
	w.told()

	return w, sessions
}

// One change costs the same whatever the number of objects.
func BenchmarkOneChange(b *testing.B) {
	for _, objects := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint("objects=", objects), func(b *testing.B) {
			w, sessions := crowd(b, objects)
			b.ReportAllocs()
			for b.Loop() {
				w.edit("pause-000007", func(o *held.Pause) { o.Spec.Reason = fmt.Sprint(w.version) })
				if out := drain(sessions[0]); len(out) != 1 || len(out[0].Table.Set) != 1 {
					b.Fatalf("written were %v", out)
				}
				w.told()
			}
		})
	}
}

// A media server that says everything again costs what it hosts.
func BenchmarkReconnect(b *testing.B) {
	for _, objects := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint("objects=", objects), func(b *testing.B) {
			w, _ := crowd(b, objects)
			r := reportOf("channel-00000", 1, 1, 0, "C")
			for b.Loop() {
				drain(w.stream(b, "ms-0000", start, r))
			}
			if told := len(w.told()); told > 1000 {
				b.Errorf("told of %d", told)
			}
		})
	}
}

// A join in a channel of 10,000 with 50 pauses of an open side: its report, the
// acknowledgement, and what it makes of the verdicts.
func BenchmarkJoinInAFullChannel(b *testing.B) {
	w := newWorld(Limits{})
	states := map[string]forwardingv1.State{}
	var all []*held.Pause
	for i := range 50 {
		all = append(all, w.pause(fmt.Sprint("pause-", i), everySender))
		states[all[i].Name] = matching
	}
	w.list(all...)
	members := make([]string, 10_000)
	for i := range members {
		members[i] = fmt.Sprintf("C%025d", i)
	}
	s := w.stream(b, "ms", start, reportOf("lobby", 1, 1, 0, members...))
	w.acknowledge(b, s, "lobby", 1, 1, start, states)
	w.told()
	epoch := uint64(1)
	edge := &forwardingv1.EdgeName{RecvConnectionId: "L", SendConnectionId: members[0]}
	for b.Loop() {
		epoch += 2
		r := reportOf("lobby", 1, epoch-1, epoch-2, "L")
		must(b, s.Report(r, start))
		must(b, s.Acknowledge(&forwardingv1.Acknowledgement{ChannelId: "lobby", Instance: 1, Epoch: epoch - 1}, start))
		for _, o := range all {
			if e, err := w.Enforced(o, edge, start); e == nil || err != nil {
				b.Fatal(e, err)
			}
		}
		must(b, s.Report(&forwardingv1.ChannelReport{
			ChannelId: "lobby", Instance: 1, Epoch: epoch, BaseEpoch: epoch - 1, Left: []string{"L"},
		}, start))
	}
	if told := w.told(); len(told) > 0 {
		b.Errorf("told of %v", told)
	}
}

func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		w, sessions := crowd(b, 100_000)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB/100k")
		runtime.KeepAlive(sessions)
		runtime.KeepAlive(w)
	}
}
