package serve

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// stream is one media server's Subscribe call.
type stream struct {
	mediaServer string
	tenant      *tenant
	grpc        forwardingv1.Forwarding_SubscribeServer
	replaced    chan struct{} // closed when a newer stream took over
	wake        chan struct{} // one token: there is something to write

	mu            sync.Mutex
	subscribed    map[string]bool
	dirty         map[string]bool // bounded by subscribed
	completed     bool
	stateVersion  bool
	replacedClose sync.Once
}

// Subscribe implements forwardingv1.ForwardingServer.
func (s *Server) Subscribe(g forwardingv1.Forwarding_SubscribeServer) error {
	err := s.subscribe(g)
	if code := status.Code(err); code != codes.OK && code != codes.Canceled {
		s.metrics.refused.WithLabelValues(code.String()).Inc()
		s.config.Log.Info("stream ended", "code", code.String(), "err", err)
	}

	return err
}

func (s *Server) subscribe(g forwardingv1.Forwarding_SubscribeServer) error {
	st, err := s.hello(g)
	if err != nil {
		return err
	}
	if older := st.tenant.presence.connect(st, time.Now()); older != nil {
		older.replacedClose.Do(func() { close(older.replaced) })
	}
	st.tenant.addStream(st)
	defer func() {
		st.tenant.removeStream(st)
		st.tenant.presence.disconnect(st, time.Now())
	}()
	s.config.Log.Info("media server connected", "namespace", st.tenant.namespace, "mediaServer", st.mediaServer)

	// Reader and writer are apart, so that a peer that does not read cannot keep
	// its reports from being heard, nor itself from being replaced. What blocks
	// them ends with the call; the server waits for them in Serve.
	ended := make(chan error, 2)
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	s.goroutines.Go(func() { ended <- s.read(st) })
	s.goroutines.Go(func() { ended <- s.write(ctx, st) })

	select {
	case err := <-ended:
		return err
	case <-st.replaced:
		return status.Errorf(codes.Aborted, "a newer stream of media server %q took over: give each media server a name of its own", st.mediaServer)
	case <-s.ending:
		return status.Error(codes.Unavailable, "this replica is ending: dial another")
	}
}

func (s *Server) hello(g forwardingv1.Forwarding_SubscribeServer) (*stream, error) {
	message, err := g.Recv()
	if err != nil {
		return nil, endOf(err)
	}
	hello := message.GetHello()
	if hello == nil {
		return nil, invalid("the first message is not Hello: begin with Hello")
	}
	if err := first(checkID("hello.namespace", hello.GetNamespace()), checkID("hello.media_server", hello.GetMediaServer())); err != nil {
		return nil, err
	}
	t, err := s.tenantOf(hello.GetNamespace())
	if err != nil {
		return nil, err
	}

	return &stream{
		mediaServer: hello.GetMediaServer(), tenant: t, grpc: g,
		replaced: make(chan struct{}), wake: make(chan struct{}, 1),
		subscribed: map[string]bool{}, dirty: map[string]bool{},
	}, nil
}

// endOf makes nil of a peer's orderly end.
func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}

	return err
}

func (s *Server) read(st *stream) error {
	for {
		message, err := st.grpc.Recv()
		if err != nil {
			return endOf(err)
		}
		if err := s.handle(st, message); err != nil {
			return err
		}
	}
}

func (s *Server) handle(st *stream, message *forwardingv1.SubscribeRequest) error {
	now := time.Now()
	switch m := message.GetMessage().(type) {
	case *forwardingv1.SubscribeRequest_Report:
		if err := checkReport(m.Report); err != nil {
			return err
		}
		st.tenant.presence.report(st, m.Report, now)
		st.subscribe(m.Report.GetChannelId(), len(m.Report.GetConnections()) > 0)
	case *forwardingv1.SubscribeRequest_Acknowledgement:
		if err := checkAcknowledgement(m.Acknowledgement); err != nil {
			return err
		}
		s.metrics.acknowledgements.Inc()
		for _, latency := range st.tenant.presence.acknowledge(st, m.Acknowledgement, now) {
			s.metrics.latency.Observe(latency.Seconds())
		}
	case *forwardingv1.SubscribeRequest_Complete:
		if st.complete() {
			return invalid("ReportComplete came twice: send it once, after the first reports")
		}
		st.tenant.presence.complete(st, now)
		st.announceVersion()
	case *forwardingv1.SubscribeRequest_Hello:
		return invalid("Hello came twice: send it once, as the first message, and open another stream for another media server")
	default:
		return invalid("a message is empty or of a kind unknown here: send ChannelReport, ReportComplete or Acknowledgement")
	}

	return nil
}

// subscribe begins or ends sending the channel's tables; a report of a channel
// subscribed already is answered again.
func (st *stream) subscribe(channelID string, hosted bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !hosted {
		delete(st.subscribed, channelID)
		delete(st.dirty, channelID)

		return
	}
	st.subscribed[channelID], st.dirty[channelID] = true, true
	st.signal()
}

// push marks the channel, if it is subscribed. It never blocks.
func (st *stream) push(channelID string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.subscribed[channelID] {
		st.dirty[channelID] = true
		st.signal()
	}
}

// complete returns whether it was called before.
func (st *stream) complete() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	before := st.completed
	st.completed = true

	return before
}

func (st *stream) announceVersion() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.completed {
		st.stateVersion = true
		st.signal()
	}
}

func (st *stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// take empties the dirty set.
func (st *stream) take() (channels map[string]bool, stateVersion bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	channels, stateVersion = st.dirty, st.stateVersion
	st.dirty, st.stateVersion = map[string]bool{}, false

	return channels, stateVersion
}

// write is the one writer. Tables leave before the version, which thus tells a
// media server that every channel reported before it has been answered.
func (s *Server) write(ctx context.Context, st *stream) error {
	ticker := time.NewTicker(s.config.VersionInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-ticker.C:
			st.announceVersion()
		case <-st.wake:
			if err := s.flush(st); err != nil {
				return err
			}
		}
	}
}

func (s *Server) flush(st *stream) error {
	channels, stateVersion := st.take()
	for channelID := range channels {
		response := &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: st.tenant.store.table(channelID)}}
		if err := st.grpc.Send(response); err != nil {
			return err // The status is the peer's.
		}
		s.metrics.tables.Inc()
	}
	if !stateVersion {
		return nil
	}
	version := &forwardingv1.ReplicaVersion{Version: st.tenant.store.version(), Stale: st.tenant.store.stale()}

	return st.grpc.Send(&forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_ReplicaVersion{ReplicaVersion: version}}) // The status is the peer's.
}
