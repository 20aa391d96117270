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

// channels is a Host whose channels the test fills.
type channels struct {
	mu      sync.Mutex
	hosted  map[string]*forwardingv1.ChannelReport
	tables  map[string]*forwardingv1.Table
	applied []*forwardingv1.Table
	// apply, if set, runs within Apply.
	apply func(*forwardingv1.Table)
}

func newChannels() *channels {
	return &channels{hosted: make(map[string]*forwardingv1.ChannelReport), tables: make(map[string]*forwardingv1.Table)}
}

// host puts exactly these connections into a channel.
func (c *channels) host(id string, connections ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(connections) == 0 {
		delete(c.hosted, id)
		delete(c.tables, id)
		return
	}
	report := &forwardingv1.ChannelReport{ChannelId: id}
	for _, connection := range connections {
		report.Connections = append(report.Connections, &forwardingv1.Connection{ConnectionId: connection, Role: forwardingv1.Role_ROLE_SENDRECV})
	}
	c.hosted[id] = report
}

func (c *channels) Hosted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id := range c.hosted {
		ids = append(ids, id)
	}
	return ids
}

func (c *channels) Report(id string) *forwardingv1.ChannelReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosted[id]
}

func (c *channels) Apply(table *forwardingv1.Table) {
	if c.apply != nil {
		c.apply(table)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hosted[table.GetChannelId()] != nil {
		c.tables[table.GetChannelId()] = table
		c.applied = append(c.applied, table)
	}
}

func (c *channels) Acknowledgement(id string) *forwardingv1.Acknowledgement {
	c.mu.Lock()
	defer c.mu.Unlock()
	table := c.tables[id]
	if table == nil {
		return nil
	}
	acknowledgement := &forwardingv1.Acknowledgement{ChannelId: id, Version: table.GetVersion()}
	for _, pause := range table.GetPauses() {
		acknowledgement.Pauses = append(acknowledgement.Pauses, &forwardingv1.PauseAcknowledgement{Uid: pause.GetUid(), Generation: pause.GetGeneration()})
	}
	return acknowledgement
}

// versions returns the versions applied, in order.
func (c *channels) versions() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := []uint64{}
	for _, table := range c.applied {
		versions = append(versions, table.GetVersion())
	}
	return versions
}

// session is one stream as the replica sees it.
type session struct {
	call grpc.BidiStreamingServer[forwardingv1.SubscribeRequest, forwardingv1.SubscribeResponse]
	end  chan error

	mu       sync.Mutex
	received []*forwardingv1.SubscribeRequest
}

// said renders what was received since the last call, a word for each message.
func (s *session) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var said []string
	for _, request := range s.received {
		switch message := request.GetMessage().(type) {
		case *forwardingv1.SubscribeRequest_Hello:
			said = append(said, "hello "+message.Hello.GetNamespace()+"/"+message.Hello.GetMediaServer())
		case *forwardingv1.SubscribeRequest_Report:
			said = append(said, fmt.Sprintf("report %s %d", message.Report.GetChannelId(), len(message.Report.GetConnections())))
		case *forwardingv1.SubscribeRequest_Complete:
			said = append(said, "complete")
		case *forwardingv1.SubscribeRequest_Acknowledgement:
			a := message.Acknowledgement
			said = append(said, fmt.Sprintf("ack %s %d %d", a.GetChannelId(), a.GetVersion(), len(a.GetPauses())))
		}
	}
	s.received = nil
	return said
}

// replica serves the Forwarding service as a manager does; what it answers is
// the test's business.
type replica struct {
	forwardingv1.UnimplementedForwardingServer
	server *grpc.Server
	// gate, if set, holds up the reading of requests.
	gate chan struct{}

	mu       sync.Mutex
	sessions []*session
	refuse   error
}

func newReplica(listener net.Listener) *replica {
	r := &replica{server: grpc.NewServer()}
	forwardingv1.RegisterForwardingServer(r.server, r)
	go func() { _ = r.server.Serve(listener) }()
	return r
}

func (r *replica) Subscribe(call grpc.BidiStreamingServer[forwardingv1.SubscribeRequest, forwardingv1.SubscribeResponse]) error {
	s := &session{call: call, end: make(chan error, 1)}
	r.mu.Lock()
	refuse := r.refuse
	r.sessions = append(r.sessions, s)
	r.mu.Unlock()
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
			s.mu.Lock()
			s.received = append(s.received, request)
			s.mu.Unlock()
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

func (s *session) sendTable(t *testing.T, table *forwardingv1.Table) {
	t.Helper()
	if err := s.call.Send(&forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: table}}); err != nil {
		t.Fatalf("send a table: %v", err)
	}
}

func (s *session) sendVersion(t *testing.T, version uint64, stale bool) {
	t.Helper()
	if err := s.call.Send(&forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_ReplicaVersion{
		ReplicaVersion: &forwardingv1.ReplicaVersion{Version: version, Stale: stale},
	}}); err != nil {
		t.Fatalf("send a version: %v", err)
	}
}

// table builds a table of channel "sora" with one pause per uid.
func table(version uint64, uids ...string) *forwardingv1.Table {
	table := &forwardingv1.Table{ChannelId: "sora", Version: version}
	for _, uid := range uids {
		table.Pauses = append(table.Pauses, &forwardingv1.Pause{
			Uid: uid, Generation: 1, RecvConnectionId: "receiver", Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		})
	}
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
	lookup    func() ([]string, error)
	stop      func()
}

const (
	replicaA = "192.0.2.1:7300"
	replicaB = "192.0.2.2:7300"
)

// inWorld runs a test in a bubble where time passes only when all is quiet.
func inWorld(t *testing.T, managers []string, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
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
			LookupHost: func(context.Context, string) ([]string, error) { return w.lookup() },
			Log:        slog.New(slog.DiscardHandler),
		}, w.host)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		w.stop = sync.OnceFunc(func() { cancel(); <-done })
		w.host.host("sora", "receiver", "sender")
		go func() {
			defer close(done)
			if err := w.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		synctest.Wait()
		test(t, w)
		w.stop()
		for _, replica := range w.replicas {
			replica.server.Stop()
		}
		synctest.Wait()
	})
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
