package tables

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// session is one stream as the replica sees it.
type session struct {
	call grpc.BidiStreamingServer[forwardingv1.SubscribeRequest, forwardingv1.SubscribeResponse]
	end  chan error

	mu       sync.Mutex
	received []*forwardingv1.SubscribeRequest
	ledger   *ledger
	ended    bool
	// react, if set, is told of each request.
	react func(*forwardingv1.SubscribeRequest)
}

func (s *session) take(request *forwardingv1.SubscribeRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, request)
	s.ledger.fold(request)
	if s.react != nil {
		s.react(request)
	}
}

// over notes that nothing of what the replica was told counts any more.
func (s *session) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// said renders what was received since the last call, a word for each message.
func (s *session) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var said []string
	for _, request := range s.received {
		said = append(said, render(request))
	}
	s.received = nil

	return said
}

func render(request *forwardingv1.SubscribeRequest) string {
	switch message := request.GetMessage().(type) {
	case *forwardingv1.SubscribeRequest_Hello:
		return "hello " + message.Hello.GetNamespace() + "/" + message.Hello.GetMediaServer()
	case *forwardingv1.SubscribeRequest_Report:
		r := message.Report
		switch {
		case r.GetClosed():
			return "closed " + r.GetChannelId()
		case r.GetBaseEpoch() == 0:
			return fmt.Sprintf("report %s %d", r.GetChannelId(), len(r.GetJoined()))
		}

		return fmt.Sprintf("report %s +%d -%d", r.GetChannelId(), len(r.GetJoined()), len(r.GetLeft()))
	case *forwardingv1.SubscribeRequest_Complete:
		return "complete"
	case *forwardingv1.SubscribeRequest_Acknowledgement:
		a := message.Acknowledgement
		if a.GetWhole() {
			return fmt.Sprintf("ack %s %d %d", a.GetChannelId(), a.GetVersion(), len(a.GetSet()))
		}

		return fmt.Sprintf("ack %s %d +%d -%d", a.GetChannelId(), a.GetVersion(), len(a.GetSet()), len(a.GetRemoved()))
	case *forwardingv1.SubscribeRequest_Clock:
		return "clock"
	case *forwardingv1.SubscribeRequest_Answer:
		return fmt.Sprintf("answer %d", message.Answer.GetQuestionId())
	case *forwardingv1.SubscribeRequest_Resend:
		return "resend " + message.Resend.GetChannelId()
	case *forwardingv1.SubscribeRequest_Farewell:
		return "farewell"
	case *forwardingv1.SubscribeRequest_Standing:
		return fmt.Sprintf("standing %t", message.Standing.GetDraining())
	case *forwardingv1.SubscribeRequest_Token:
		return "token " + message.Token.GetToken()
	}

	return "nothing"
}

// replica serves the Forwarding service as a manager does; what it answers is
// the test's business.
type replica struct {
	forwardingv1.UnimplementedForwardingServer
	server *grpc.Server
	// gate, if set, holds up the reading of requests.
	gate chan struct{}
	// limit bounds the messages that are right.
	limit int
	// opened, if set, is told of each session before anything is received.
	opened func(*session)

	mu       sync.Mutex
	sessions []*session
	refuse   error
}

func newReplica(listener net.Listener) *replica {
	r := &replica{server: grpc.NewServer(), limit: forwardingv1.MaxMessageBytes}
	forwardingv1.RegisterForwardingServer(r.server, r)
	go func() { _ = r.server.Serve(listener) }()

	return r
}

func (r *replica) Subscribe(
	call grpc.BidiStreamingServer[forwardingv1.SubscribeRequest, forwardingv1.SubscribeResponse],
) error {
	s := &session{call: call, end: make(chan error, 1), ledger: newLedger(r.limit)}
	r.mu.Lock()
	refuse := r.refuse
	r.sessions = append(r.sessions, s)
	if r.opened != nil {
		r.opened(s)
	}
	r.mu.Unlock()
	defer s.over()
	if refuse != nil {
		return refuse
	}
	read := make(chan error, 1)
	go func() {
		for {
			if r.gate != nil {
				select {
				case <-r.gate:
				case <-call.Context().Done():
				}
			}
			request, err := call.Recv()
			if err != nil {
				read <- nil

				return
			}
			s.take(request)
		}
	}()
	select {
	case err := <-read:
		return err
	case err := <-s.end:
		return err
	}
}

func (r *replica) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()

	return len(r.sessions)
}

// last returns the newest session.
func (r *replica) last() *session {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.sessions[len(r.sessions)-1]
}

// problems returns what the streams carried against the protocol.
func (r *replica) problems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var problems []string
	for _, s := range r.sessions {
		s.mu.Lock()
		problems = append(problems, s.ledger.problems...)
		s.mu.Unlock()
	}

	return problems
}

func (s *session) send(t *testing.T, response *forwardingv1.SubscribeResponse) {
	t.Helper()
	if err := s.call.Send(response); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func (s *session) sendTable(t *testing.T, table *forwardingv1.Table) {
	t.Helper()
	s.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: table}})
}

func (s *session) sendVersion(t *testing.T, version uint64, stale bool) {
	t.Helper()
	s.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_ReplicaVersion{
		ReplicaVersion: &forwardingv1.ReplicaVersion{Version: version, Stale: stale},
	}})
}

// pause builds a pause of the receiver with content of its own for each revision.
func pause(uid string, revision byte) *forwardingv1.Pause {
	digest := make([]byte, forwardingv1.DigestBytes)
	digest[0] = revision
	ids := &forwardingv1.IDs{Ids: []string{"receiver"}}

	return &forwardingv1.Pause{
		Uid: uid, Digest: digest, Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		Receivers: &forwardingv1.Side{Names: &forwardingv1.Side_ConnectionIds{ConnectionIds: ids}},
		Senders:   &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}},
	}
}

// table builds a whole table of the first instance of channel "sora" with one
// pause per uid.
func table(version uint64, uids ...string) *forwardingv1.Table {
	table := &forwardingv1.Table{ChannelId: "sora", Instance: 1, Version: version}
	for _, uid := range uids {
		table.Set = append(table.Set, pause(uid, 1))
	}

	return table
}

// difference builds the difference to the table of version base.
func difference(base, version uint64, uids ...string) *forwardingv1.Table {
	table := table(version, uids...)
	table.BaseVersion = base

	return table
}

func removing(table *forwardingv1.Table, uids ...string) *forwardingv1.Table {
	table.Removed = uids

	return table
}

func more(table *forwardingv1.Table) *forwardingv1.Table {
	table.More = true

	return table
}

func stale(table *forwardingv1.Table) *forwardingv1.Table {
	table.Stale = true

	return table
}

// world is a subscriber with the replicas that it dials, in a synctest bubble.
type world struct {
	*Subscriber
	host      *channels
	replicas  map[string]*replica
	listeners map[string]*bufconn.Listener
	stop      func()
}

const (
	replicaA = "192.0.2.1:7300"
	replicaB = "192.0.2.2:7300"
)

// inWorld runs a test in a bubble where time passes only when all is quiet.
func inWorld(t *testing.T, managers []string, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(managers)
		w.host.host("sora", "receiver", "sender")
		w.start(t)
		synctest.Wait()
		test(t, w)
		w.end()
		for address, replica := range w.replicas {
			for _, problem := range replica.problems() {
				t.Errorf("told %s: %s", address, problem)
			}
		}
	})
}

// newWorld makes a subscriber and what it dials; nothing of it runs yet.
func newWorld(managers []string) *world {
	w := &world{host: newChannels(), replicas: make(map[string]*replica), listeners: make(map[string]*bufconn.Listener)}
	for _, address := range []string{replicaA, replicaB} {
		w.listeners[address] = bufconn.Listen(64 << 10)
		w.replicas[address] = newReplica(w.listeners[address])
	}
	w.Subscriber = New(Config{
		Namespace: "meetings", Name: "sfu-0", Managers: managers,
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return w.listeners[address].DialContext(ctx)
			}),
		},
		Log: slog.New(slog.DiscardHandler),
	}, w.host)

	return w
}

// start runs the subscriber.
func (w *world) start(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	w.stop = sync.OnceFunc(func() { cancel(); <-done })
	subscriber := w.Subscriber
	go func() {
		defer close(done)
		if err := subscriber.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
}

// end stops everything.
func (w *world) end() {
	w.stop()
	for _, replica := range w.replicas {
		replica.server.Stop()
	}
	synctest.Wait()
}

// hosts changes a channel and says so, as a Host does.
func (w *world) hosts(id string, connections ...string) {
	w.host.host(id, connections...)
	w.Changed(id)
}

func expectSaid(t *testing.T, s *session, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := s.said(); !slices.Equal(got, want) {
		t.Errorf("the replica was told %q, want %q", got, want)
	}
}

func expectApplied(t *testing.T, w *world, want ...uint64) {
	t.Helper()
	synctest.Wait()
	if got := w.host.versions(); !slices.Equal(got, want) {
		t.Errorf("applied versions %v, want %v", got, want)
	}
}

func expectTables(t *testing.T, w *world, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := w.host.tables(); !slices.Equal(got, want) {
		t.Errorf("applied %q, want %q", got, want)
	}
}
