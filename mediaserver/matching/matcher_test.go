package matching_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// pair is a Matcher and the naive one, which take the same steps.
type pair struct {
	matcher *matching.Matcher
	naive   *naive
	watched map[matching.Edge]told
	next    int
}

// TestMatcherIsTheNaiveOne takes random steps and holds everything that the Matcher
// says against asking every pause about every pair of connections.
func TestMatcherIsTheNaiveOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &pair{matcher: matching.New(), naive: newNaive(), watched: map[matching.Edge]told{}}
		p.naive.now = noon
		t.Repeat(map[string]func(*rapid.T){
			"join":    p.join,
			"leave":   p.leave,
			"apply":   p.apply,
			"advance": p.advance,
			"watch":   p.watch,
			"":        p.compare,
		})
	})
}

func (p *pair) join(t *rapid.T) {
	if len(p.naive.connections) >= 7 {
		t.Skip("enough")
	}
	p.next++
	c := &forwardingv1.Connection{
		ConnectionId: fmt.Sprintf("c%d", p.next%12),
		ClientId:     rapid.SampledFrom([]string{"phone", "laptop", "c1"}).Draw(t, "client"),
		BundleId:     rapid.SampledFrom([]string{"", "", "one", "two"}).Draw(t, "bundle"),
		Role: rapid.SampledFrom([]forwardingv1.Role{
			forwardingv1.Role_ROLE_SENDRECV, forwardingv1.Role_ROLE_SENDONLY, forwardingv1.Role_ROLE_RECVONLY,
		}).Draw(t, "role"),
	}
	if p.naive.connections[c.GetConnectionId()] != nil {
		t.Skip("there already")
	}
	p.step(t, nil, func() matching.Changes {
		p.naive.connections[c.GetConnectionId()] = c

		return p.matcher.Join(c)
	})
}

func (p *pair) leave(t *rapid.T) {
	id := p.someone(t, "who")
	p.step(t, nil, func() matching.Changes {
		delete(p.naive.connections, id)
		maps.DeleteFunc(p.watched, func(e matching.Edge, _ told) bool { return e.Receiver == id || e.Sender == id })

		return p.matcher.Leave(id)
	})
}

func (p *pair) someone(t *rapid.T, label string) string {
	if len(p.naive.connections) == 0 {
		t.Skip("nobody is there")
	}

	return rapid.SampledFrom(slices.Sorted(maps.Keys(p.naive.connections))).Draw(t, label)
}

func (p *pair) watch(t *rapid.T) {
	e := matching.Edge{Receiver: p.someone(t, "receiver"), Sender: p.someone(t, "sender")}
	if !p.matcher.Live(e) {
		t.Skip("not live")
	}
	if diff := cmp.Diff(p.naive.told(e), toldOf(p.matcher.Watch(e)), cmp.AllowUnexported(told{})); diff != "" {
		t.Fatalf("watching %v (-want +got):\n%s", e, diff)
	}
	p.watched[e] = p.naive.told(e)
}

func (p *pair) apply(t *rapid.T) {
	var set []*forwardingv1.Pause
	uids := rapid.SliceOfN(rapid.StringMatching(`[p-v]`), 0, 3).Draw(t, "set")
	for _, uid := range uids {
		set = append(set, drawPause(t, uid))
	}
	removed := rapid.SliceOfNDistinct(rapid.StringMatching(`[p-v]`), 0, 3, rapid.ID).Draw(t, "removed")
	now := p.tick(t)
	p.step(t, append(uids, removed...), func() matching.Changes {
		p.naive.now = now
		for _, uid := range removed {
			delete(p.naive.pauses, uid)
		}
		for _, pause := range set {
			p.naive.pauses[pause.GetUid()] = pause
		}

		return p.matcher.Apply(set, removed, now)
	})
}

func (p *pair) advance(t *rapid.T) {
	now := p.tick(t)
	p.step(t, nil, func() matching.Changes {
		p.naive.now = now

		return p.matcher.Advance(now)
	})
}

// tick is another time by a clock that may be set back.
func (p *pair) tick(t *rapid.T) time.Time {
	return noon.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "now")) * time.Second)
}

func drawPause(t *rapid.T, uid string) *forwardingv1.Pause {
	pause := &forwardingv1.Pause{
		Uid:       uid,
		Receivers: drawSide(t, "receivers"),
		Senders:   drawSide(t, "senders"),
		Kinds: rapid.SampledFrom([][]forwardingv1.Kind{
			{forwardingv1.Kind_KIND_VIDEO}, {forwardingv1.Kind_KIND_AUDIO},
			{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO},
			{}, {forwardingv1.Kind_KIND_VIDEO, 7}, {forwardingv1.Kind_KIND_UNSPECIFIED},
		}).Draw(t, "kinds"),
		Reason:      rapid.SampledFrom([]string{"", "one", "another"}).Draw(t, "reason"),
		CreatedTime: timestamppb.New(noon.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "created")) * time.Hour)),
	}
	if rapid.Bool().Draw(t, "ends") {
		pause.ExpiresAt = timestamppb.New(noon.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "end")) * time.Second))
	}
	sum := pause.Sum()
	pause.Digest = sum[:]

	return pause
}

func drawSide(t *rapid.T, label string) *forwardingv1.Side {
	connections := rapid.SliceOfN(rapid.StringMatching(`c[0-9]`), 0, 3).Draw(t, label+" by connection")
	clients := rapid.SliceOfN(rapid.SampledFrom([]string{"phone", "laptop", "c1", "nobody"}), 0, 2).Draw(t,
		label+" by client")
	switch rapid.IntRange(0, 8).Draw(t, label) {
	case 0:
		return nil
	case 1, 2:
		return &forwardingv1.Side{Names: &forwardingv1.Side_ConnectionIds{ConnectionIds: &forwardingv1.IDs{Ids: connections}}}
	case 3, 4:
		return &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{ClientIds: &forwardingv1.IDs{Ids: clients}}}
	case 5, 6:
		return &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}}
	default:
		except := &forwardingv1.EveryoneExcept{ConnectionIds: connections, ClientIds: clients}

		return &forwardingv1.Side{Names: &forwardingv1.Side_EveryoneExcept{EveryoneExcept: except}}
	}
}

// step makes one and holds what it says to have changed against what has changed.
// Pauses of which something was said may be told though nothing changed.
func (p *pair) step(t *rapid.T, said []string, do func() matching.Changes) {
	before := p.naive.states()
	changes := do()

	want := map[matching.Edge]told{}
	for e, was := range p.watched {
		if is := p.naive.told(e); is != was {
			want[e], p.watched[e] = is, is
		}
	}
	got := map[matching.Edge]told{}
	for _, change := range changes.Edges {
		if _, twice := got[change.Edge]; twice {
			t.Errorf("%v is told twice", change.Edge)
		}
		got[change.Edge] = toldOf(change.Withheld)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(told{})); diff != "" {
		t.Errorf("changed edges (-want +got):\n%s", diff)
	}

	after := p.naive.states()
	for _, uid := range changes.Pauses {
		if before[uid] == after[uid] && !slices.Contains(said, uid) {
			t.Errorf("%s is told to have changed; it is %v as before", uid, after[uid])
		}
	}
	for _, uid := range slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after))) {
		if before[uid] != after[uid] && !slices.Contains(changes.Pauses, uid) {
			t.Errorf("%s changed from %v to %v and is not told", uid, before[uid], after[uid])
		}
	}
}

// compare holds all answers against each other.
func (p *pair) compare(t *rapid.T) {
	want := p.naive.states()
	if held := slices.Sorted(p.matcher.Uids()); !slices.Equal(held, slices.Sorted(maps.Keys(want))) ||
		p.matcher.Len() != len(held) {
		t.Errorf("held are %v", held)
	}
	for uid, w := range want {
		if got := p.matcher.State(uid); got.GetState() != w.state || string(got.GetDigest()) != w.digest {
			t.Errorf("%s is %v, want %v", uid, got.GetState(), w.state)
		}
		p.compareEdges(t, uid)
	}
	for _, kind := range []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO} {
		p.compareSurvey(t, kind)
	}
	for _, e := range p.naive.live() {
		if !p.matcher.Live(e) {
			t.Errorf("%v is not live", e)
		}
		if got, want := uids(p.matcher.Matching(e)), uids(p.naive.matching(e)); !slices.Equal(got, want) {
			t.Errorf("%v is matched by %v, want %v", e, got, want)
		}
	}
	p.compareExpiry(t)
}

func (p *pair) compareEdges(t *rapid.T, uid string) {
	var want []matching.Edge
	for _, e := range p.naive.live() {
		if p.naive.matches(p.naive.pauses[uid], e) {
			want = append(want, e)
		}
	}
	for _, limit := range []int{0, 2, 100} {
		got, count := p.matcher.Edges(uid, limit)
		if count != uint64(len(want)) || !slices.Equal(got, want[:min(limit, len(want))]) {
			t.Errorf("%s matches %d edges, among them %v; want %v", uid, count, got, want)
		}
	}
}

func (p *pair) compareSurvey(t *rapid.T, kind forwardingv1.Kind) {
	var want []matching.Edge
	counts := map[string]uint64{}
	for _, e := range p.naive.live() {
		withheld := false
		for _, pause := range p.naive.matching(e) {
			if pause.PausesKind(kind) {
				withheld = true
				counts[pause.GetUid()]++
			}
		}
		if withheld {
			want = append(want, e)
		}
	}
	survey := p.matcher.Survey(kind)
	for _, limit := range []int{0, 2, 100} {
		got, count := survey.Withheld(limit)
		if count != uint64(len(want)) || !slices.Equal(got, want[:min(limit, len(want))]) {
			t.Errorf("of %v %d edges are withheld, among them %v; want %v", kind, count, got, want)
		}
	}
	got := map[string]uint64{}
	for _, c := range survey.Counts() {
		got[c.GetUid()] = c.GetEdges()
	}
	if diff := cmp.Diff(counts, got); diff != "" {
		t.Errorf("edges by pause (-want +got):\n%s", diff)
	}
}

func (p *pair) compareExpiry(t *rapid.T) {
	var want time.Time
	for _, pause := range p.naive.pauses {
		if at := pause.GetExpiresAt().AsTime(); pause.GetExpiresAt() != nil && !pause.ExpiredAt(p.naive.now) &&
			(want.IsZero() || at.Before(want)) {
			want = at
		}
	}
	if got, ok := p.matcher.NextExpiry(); ok == want.IsZero() || ok && !got.Equal(want) {
		t.Errorf("the next expiry is %v, %v; want %v", got, ok, want)
	}
}

func uids(pauses []*forwardingv1.Pause) []string {
	uids := make([]string, len(pauses))
	for i, p := range pauses {
		uids[i] = p.GetUid()
	}

	return uids
}
