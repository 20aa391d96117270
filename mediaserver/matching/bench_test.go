package matching_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
)

const stage = 100 // connections that send

func connection(i int) *forwardingv1.Connection {
	id := fmt.Sprintf("%026d", i)
	role := forwardingv1.Role_ROLE_RECVONLY
	if i < stage {
		role = forwardingv1.Role_ROLE_SENDRECV
	}

	return &forwardingv1.Connection{ConnectionId: id, ClientId: "client-" + id, BundleId: id, Role: role}
}

// lecture is a channel of n connections, of which the first hundred send and
// everybody watches everybody who does.
func lecture(n int) *matching.Matcher {
	m := matching.New()
	for i := range n {
		join(m, i, n)
	}

	return m
}

// join lets connection i in and watches its edges with the first n.
func join(m *matching.Matcher, i, n int) {
	m.Join(connection(i))
	for sender := range min(stage, n) {
		if e := (matching.Edge{Receiver: connectionID(i), Sender: connectionID(sender)}); m.Live(e) {
			m.Watch(e)
		}
	}
	if i < stage {
		for receiver := range i {
			m.Watch(matching.Edge{Receiver: connectionID(receiver), Sender: connectionID(i)})
		}
	}
}

func connectionID(i int) string { return fmt.Sprintf("%026d", i) }

func edgePause(uid string, receiver, sender int) *forwardingv1.Pause {
	return digested(&forwardingv1.Pause{
		Uid: uid, Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		Receivers: connections(connectionID(receiver)),
		Senders:   connections(connectionID(sender)),
	})
}

func connections(id string) *forwardingv1.Side {
	return &forwardingv1.Side{Names: &forwardingv1.Side_ConnectionIds{
		ConnectionIds: &forwardingv1.IDs{Ids: []string{id}},
	}}
}

func clients(id string) *forwardingv1.Side {
	return &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: []string{id}}}}
}

func everyoneExcept(these *forwardingv1.EveryoneExcept) *forwardingv1.Side {
	return &forwardingv1.Side{Names: &forwardingv1.Side_EveryoneExcept{EveryoneExcept: these}}
}

// openPause is of one client's video to everybody but another client.
func openPause(uid string, sender int) *forwardingv1.Pause {
	return digested(&forwardingv1.Pause{
		Uid: uid, Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		Receivers: everyoneExcept(&forwardingv1.EveryoneExcept{ClientIds: []string{"assistant"}}),
		Senders:   clients("client-" + connectionID(sender)),
	})
}

// wallPause lets one client see nobody but the stage's first.
func wallPause(uid string, receiver int) *forwardingv1.Pause {
	return digested(&forwardingv1.Pause{
		Uid: uid, Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		Receivers: clients("client-" + connectionID(receiver)),
		Senders:   everyoneExcept(&forwardingv1.EveryoneExcept{ConnectionIds: []string{connectionID(0)}}),
	})
}

func digested(p *forwardingv1.Pause) *forwardingv1.Pause {
	p.CreatedTime = timestamppb.New(noon)
	sum := p.Sum()
	p.Digest = sum[:]

	return p
}

func openPauses(n int) []*forwardingv1.Pause {
	pauses := make([]*forwardingv1.Pause, n)
	for i := range pauses {
		if pauses[i] = openPause(fmt.Sprint("open-", i), i%stage); i%2 == 1 {
			pauses[i] = wallPause(fmt.Sprint("open-", i), i)
		}
	}

	return pauses
}

// BenchmarkJoin is one receiver's coming, with all its edges, and going.
func BenchmarkJoin(b *testing.B) {
	for _, n := range []int{100, 1_000, 3_000, 10_000} {
		for _, open := range []int{0, 50} {
			b.Run(fmt.Sprintf("connections=%d/open=%d", n, open), func(b *testing.B) {
				m := lecture(n)
				m.Apply(openPauses(open), nil, noon)
				for b.Loop() {
					join(m, n, n)
					m.Leave(connectionID(n))
				}
			})
		}
	}
}

// BenchmarkOneEdge sets and removes a pause of one edge beside others.
func BenchmarkOneEdge(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		for _, others := range []int{0, 5_000, 20_000} {
			b.Run(fmt.Sprintf("connections=%d/others=%d", n, others), func(b *testing.B) {
				m := lecture(n)
				pauses := make([]*forwardingv1.Pause, others)
				for i := range pauses {
					pauses[i] = edgePause(fmt.Sprint(i), stage+i%(n-stage+1), i%stage)
				}
				m.Apply(append(pauses, openPauses(20)...), nil, noon)
				set := []*forwardingv1.Pause{edgePause("one", 5, 7)}
				removed := []string{"one"}
				for b.Loop() {
					m.Apply(set, nil, noon)
					m.Apply(nil, removed, noon)
				}
			})
		}
	}
}

// BenchmarkOpenSide sets and removes a pause that withholds one sender from
// everybody.
func BenchmarkOpenSide(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			m := lecture(n)
			m.Apply(openPauses(50), nil, noon)
			for b.Loop() {
				m.Apply([]*forwardingv1.Pause{openPause("one", 51)}, nil, noon)
				m.Apply(nil, []string{"one"}, noon)
			}
		})
	}
}

// BenchmarkSurvey counts the edges that 50 open-side pauses withhold, and takes the
// names of 1,000 of them.
func BenchmarkSurvey(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			m := lecture(n)
			m.Apply(openPauses(50), nil, noon)
			for b.Loop() {
				m.Survey(forwardingv1.Kind_KIND_VIDEO).Withheld(1_000)
			}
		})
	}
}

// BenchmarkTable takes a whole table of pauses of one edge each, all of which end.
func BenchmarkTable(b *testing.B) {
	m := lecture(1_000)
	pauses := make([]*forwardingv1.Pause, 20_000)
	removed := make([]string, len(pauses))
	for i := range pauses {
		pauses[i] = edgePause(fmt.Sprint(i), i%1_000, i%stage)
		pauses[i].ExpiresAt = timestamppb.New(noon.Add(time.Duration(i+1) * time.Second))
		removed[i] = pauses[i].GetUid()
	}
	for b.Loop() {
		m.Apply(pauses, nil, noon)
		m.Apply(nil, removed, noon)
	}
}
