package serve

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

func holding(o *v1alpha1.RtpStreamPause) func(*forwardingv1.SubscribeResponse) bool {
	return func(m *forwardingv1.SubscribeResponse) bool {
		for _, p := range m.GetTable().GetSet() {
			if p.GetUid() == string(o.UID) {
				return true
			}
		}

		return false
	}
}

func TestWelcomeThenWholeTableThenDifferencesThenVersion(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	before := create(t, namespace, "before", "lobby")
	c := s.open(t, helloOf(namespace, "ms"), said(wholeReport("lobby", "R", "S")), completion)
	if m, err := c.Recv(); err != nil || m.GetWelcome() == nil {
		t.Fatalf("the first answer is %v, %v", m, err)
	}
	m, err := c.Recv()
	if err != nil || m.GetTable().GetBaseVersion() != 0 || m.GetTable().GetInstance() != 1 ||
		m.GetTable().GetVersion() == 0 {
		t.Fatalf("the first table is %v, %v", m, err)
	}
	if m, err = c.Recv(); err != nil || m.GetReplicaVersion().GetVersion() == 0 {
		t.Fatalf("the version came before the answer to the report: %v, %v", m, err)
	}
	until(t, "the table has it", func() bool {
		return s.knowledge.Pause(types.NamespacedName{Namespace: namespace, Name: "before"}) != nil
	})
	o := create(t, namespace, "after", "lobby")
	create(t, namespace, "elsewhere", "hall")
	table := c.await(t, holding(o)).GetTable()
	if table.GetBaseVersion() == 0 || len(table.GetSet()) > 2 {
		t.Errorf("the difference is %v", table)
	}
	remove(t, before)
	table = c.await(t, func(m *forwardingv1.SubscribeResponse) bool {
		return len(m.GetTable().GetRemoved()) > 0
	}).GetTable()
	if table.GetRemoved()[0] != string(before.UID) || len(table.GetSet()) > 0 {
		t.Errorf("the difference is %v", table)
	}
	// A whole table again, when the base is not held.
	c.send(t, &forwardingv1.SubscribeRequest{
		Message: &forwardingv1.SubscribeRequest_Resend{Resend: &forwardingv1.Resend{ChannelId: "lobby"}},
	})
	table = c.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetTable() != nil }).GetTable()
	if table.GetBaseVersion() != 0 || len(table.GetSet()) != 1 {
		t.Errorf("the whole table is %v", table)
	}
	// And the other way round.
	c.send(t, said(&forwardingv1.ChannelReport{
		ChannelId: "lobby", Instance: 1, Epoch: 9, BaseEpoch: 8, Joined: []*forwardingv1.Connection{connection("X")},
	}))
	if m := c.await(t, func(m *forwardingv1.SubscribeResponse) bool {
		return m.GetResend() != nil
	}); m.GetResend().GetChannelId() != "lobby" {
		t.Errorf("asked for %v", m)
	}
}

func TestChannelBeyondABoundIsRefusedAlone(t *testing.T) {
	namespace := newNamespace(t)
	s := serveWith(t, knowledge.Config{
		Namespaces: []string{namespace}, Limits: knowledge.Limits{MediaServers: 2, Channels: 2, Connections: 10},
	}, Config{})
	until(t, "the replica serves", func() bool { return s.Ready() == nil })
	c := s.open(t, helloOf(namespace, "ms"), said(wholeReport("lobby", "R", "S")))
	refusal := func(channelID string) string {
		t.Helper()

		return c.await(t, func(m *forwardingv1.SubscribeResponse) bool {
			return m.GetRefusal().GetChannelId() == channelID
		}).GetRefusal().GetReason()
	}
	crowd := wholeReport("crowd")
	for i := range 11 {
		crowd.Joined = append(crowd.Joined, connection(fmt.Sprint(i)))
	}
	c.send(t, said(crowd))
	if reason := refusal("crowd"); !strings.Contains(reason, `channel "crowd" has more than 10 connections`) {
		t.Error(reason)
	}
	c.send(t,
		said(&forwardingv1.ChannelReport{ChannelId: "crowd", Instance: 1, Epoch: 2, BaseEpoch: 1, Left: []string{"0"}}))
	c.send(t, completion, said(wholeReport("third", "X")))
	if reason := refusal("third"); !strings.Contains(reason, "more than 2 channels") {
		t.Error(reason)
	}
	_, _, err := s.list(t, &forwardingv1.ListRequest{Namespace: namespace, ChannelId: "crowd", Limit: 1})
	expectCode(t, err, codes.Unavailable, "more than 10 connections")
	_, _, err = s.list(t, &forwardingv1.ListRequest{Namespace: namespace, ChannelId: "fourth", Limit: 1})
	expectCode(t, err, codes.Unavailable, "ms")
	// A whole report later lifts it; the other channel was never concerned.
	o := create(t, namespace, "pause", "crowd")
	crowd.Joined, crowd.Epoch = crowd.GetJoined()[1:], 3
	c.send(t, said(crowd))
	if table := c.await(t, holding(o)).GetTable(); table.GetBaseVersion() != 0 && len(table.GetSet()) != 1 {
		t.Errorf("the table is %v", table)
	}
	for _, name := range []string{"two", "three"} {
		other := s.open(t, helloOf(namespace, name))
		if name == "two" {
			other.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetWelcome() != nil })

			continue
		}
		expectCode(t, other.end(), codes.ResourceExhausted, "too many media servers")
	}
}

func TestNewerStreamOfTheSameNameTakesOver(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	older := s.open(t, helloOf(namespace, "ms"), said(wholeReport("lobby", "R", "S")), completion)
	older.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetTable() != nil })
	newer := s.open(t, helloOf(namespace, "ms"), said(wholeReport("lobby", "R", "S")), completion)
	newer.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetTable() != nil })
	expectCode(t, older.end(), codes.Aborted, "took over")
	o := create(t, namespace, "pause", "lobby")
	newer.await(t, holding(o))
}

func TestDeafMediaServerHoldsUpNobody(t *testing.T) {
	namespace, neighbour := newNamespace(t), newNamespace(t)
	s := serve(t, namespace, neighbour)
	deaf := s.open(t, helloOf(namespace, "deaf"), said(wholeReport("lobby", "D", "E")))
	// Each is answered, with Resend, and fills what flow control allows.
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		for i := range 200_000 {
			r := &forwardingv1.ChannelReport{ChannelId: fmt.Sprintf("%0200d", i), Instance: 1, Epoch: 2, BaseEpoch: 1}
			if deaf.Send(said(r)) != nil {
				return
			}
		}
	}()
	listening := s.open(t, helloOf(namespace, "listening"), said(wholeReport("lobby", "R", "S")))
	stranger := s.open(t, helloOf(neighbour, "stranger"), said(wholeReport("lobby", "R", "S")), completion)
	o := create(t, namespace, "deaf", "lobby")
	listening.await(t, holding(o))
	// Of the neighbour's tenant nothing came, neither with the answer nor after.
	foreign := create(t, neighbour, "deaf", "lobby")
	stranger.await(t, func(m *forwardingv1.SubscribeResponse) bool {
		if holding(o)(m) {
			t.Error("a pause of another namespace arrived")
		}

		return holding(foreign)(m)
	})
	// It ends when a newer stream takes over.
	s.open(t, helloOf(namespace, "deaf")).await(t, func(m *forwardingv1.SubscribeResponse) bool {
		return m.GetWelcome() != nil
	})
	<-flooding
}

func TestVersionIsStatedRegularlyAndTurnsStale(t *testing.T) {
	namespace := newNamespace(t)
	s := serveWith(t, knowledge.Config{Namespaces: []string{namespace}, StaleAfter: time.Second},
		Config{VersionInterval: 50 * time.Millisecond})
	until(t, "the replica serves", func() bool { return s.Ready() == nil })
	c := s.open(t, helloOf(namespace, "ms"), said(wholeReport("lobby", "R", "S")), completion)
	stale := func(want bool) func(*forwardingv1.SubscribeResponse) bool {
		return func(m *forwardingv1.SubscribeResponse) bool {
			return m.GetReplicaVersion().GetVersion() > 0 && m.GetReplicaVersion().GetStale() == want
		}
	}
	c.await(t, stale(true))
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), namespace) {
		t.Errorf("a stale replica says of its readiness: %v", err)
	}
	o := create(t, namespace, "fresh", "lobby")
	c.await(t, holding(o))
	c.await(t, stale(false))
	c.await(t, stale(true))
}

func TestVersionDoesNotGoBackwardsAfterADeletionAndARestart(t *testing.T) {
	namespace := newNamespace(t)
	c := serve(t, namespace).open(t, helloOf(namespace, "ms"), said(wholeReport("lobby", "R", "S")))
	o := create(t, namespace, "brief", "lobby")
	with := c.await(t, holding(o)).GetTable().GetVersion()
	remove(t, o)
	without := c.await(t, func(m *forwardingv1.SubscribeResponse) bool {
		return m.GetTable() != nil && !holding(o)(m)
	}).GetTable().GetVersion()
	again := serve(t, namespace).open(t, helloOf(namespace, "ms"), said(wholeReport("lobby", "R", "S")))
	restarted := again.await(t, func(m *forwardingv1.SubscribeResponse) bool {
		return m.GetTable() != nil
	}).GetTable().GetVersion()
	if with >= without || restarted < without {
		t.Errorf("versions %d with the pause, %d without, %d after a restart", with, without, restarted)
	}
}

func TestWithoutAPIServerItWaitsAndSaysSo(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	s := serveWith(t, knowledge.Config{
		REST:       &rest.Config{Host: "http://" + nowhere},
		Namespaces: []string{"tenant"},
		Log:        slog.New(slog.NewTextHandler(log, nil)),
	}, Config{})
	if s.Ready() == nil {
		t.Error("ready without an API server")
	}
	expectCode(t, s.open(t, helloOf("tenant", "ms")).end(), codes.Unavailable, "not all known yet")
	stream, err := s.view.Connections(t.Context(), &forwardingv1.ConnectionsRequest{
		Namespace: "tenant", ChannelId: "lobby",
	})
	_, err = all(t, stream, err)
	expectCode(t, err, codes.Unavailable, "not all known yet")
	until(t, "something is said of the API server's absence", func() bool { return log.contain("connection refused") })
}

func TestClockSkewIsMeasuredInTheMiddle(t *testing.T) {
	var c clock
	now := time.Unix(1_000_000, 0)
	ask := func() {
		for asked := false; !asked; asked = c.asks(now) {
		}
	}
	ask()
	if ahead, ok := c.answered(now.Add(3*time.Second), now.Add(2*time.Second)); !ok || ahead != 2*time.Second {
		t.Errorf("ahead by %s, %v", ahead, ok)
	}
	ask()
	now = now.Add(time.Second)
	ask()
	if _, ok := c.answered(now, now); ok {
		t.Error("measured with two questions under way")
	}
	if ahead, ok := c.answered(now.Add(time.Second), now.Add(2*time.Second)); !ok || ahead != 0 {
		t.Errorf("ahead by %s, %v by the answer to the last question", ahead, ok)
	}
	ask()
	if _, ok := c.answered(now, now); !ok {
		t.Error("not measured any more")
	}
}

func TestTheClockIsAskedForAtOnceAndThenNowAndThen(t *testing.T) {
	var c clock
	var asked []int
	for version := range 15 {
		if c.asks(time.Unix(1_000_000, 0)) {
			asked = append(asked, version)
		}
	}
	if want := []int{0, 6, 12}; !slices.Equal(asked, want) {
		t.Errorf("asked with the versions %v, want %v", asked, want)
	}
}

// Whatever the table, its parts are small enough and make the same table.
func TestTablesAreCutIntoParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := &knowledge.Table{
			ChannelID: strings.Repeat("c", rapid.IntRange(1, 255).Draw(t, "channel")),
			Instance:  3,
			Version:   9,
			Base:      7,
			Stale:     true,
		}
		ids := rapid.IntRange(1, 64).Draw(t, "ids")
		for i := range rapid.IntRange(0, 400).Draw(t, "pauses") {
			o := &held.Pause{UID: types.UID(fmt.Sprintf("%036d", i))}
			o.Spec.Receivers.Others, o.Spec.Senders.Others = &held.Others{Everyone: &v1alpha1.Everyone{}}, &held.Others{}
			for j := range ids {
				o.Spec.Senders.Others.ClientIDs = append(o.Spec.Senders.Others.ClientIDs, fmt.Sprintf("%0255d", j))
			}
			table.Set = append(table.Set, o)
		}
		for i := range rapid.SampledFrom([]int{0, 1, 30_000}).Draw(t, "removed") {
			table.Removed = append(table.Removed, fmt.Sprintf("%036d", i))
		}
		set, removed, more := 0, 0, true
		err := cut(table, func(part *forwardingv1.Table) error {
			m := &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: part}}
			if size := proto.Size(m); size > forwardingv1.MaxMessageBytes {
				t.Fatalf("a part of %d bytes", size)
			}
			if !more || part.GetChannelId() != table.ChannelID || part.GetInstance() != 3 || part.GetVersion() != 9 ||
				part.GetBaseVersion() != 7 || !part.GetStale() {
				t.Fatalf("a part of another table: %v", part)
			}
			for _, p := range part.GetSet() {
				if p.GetUid() != string(table.Set[set].UID) {
					t.Fatal("not in order")
				}
				set++
			}
			removed, more = removed+len(part.GetRemoved()), part.GetMore()

			return nil
		})
		if err != nil || more || set != len(table.Set) || removed != len(table.Removed) {
			t.Fatalf("%d set, %d removed, more %v, %v", set, removed, more, err)
		}
	})
}
