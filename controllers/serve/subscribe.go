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
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// stream is one media server's Subscribe call.
type stream struct {
	session   *knowledge.Session
	grpc      forwardingv1.Forwarding_SubscribeServer
	questions questions
	clock     clock
	admission *admission // nil where nobody is reviewed
}

// streams finds the call of a session.
type streams struct {
	mu sync.Mutex
	of map[*knowledge.Session]*stream
}

func (s *streams) add(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[st.session] = st
}

func (s *streams) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, st.session)
}

func (s *streams) find(session *knowledge.Session) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.of[session]
}

// Subscribe implements forwardingv1.ForwardingServer.
func (s *Server) Subscribe(g forwardingv1.Forwarding_SubscribeServer) error {
	err := s.subscribe(g)
	stranger, isStranger := errors.AsType[*notAllowed](err)
	if isStranger {
		err = stranger.error
	}
	if code := status.Code(err); code != codes.OK && code != codes.Canceled {
		s.metrics.ended.WithLabelValues(code.String()).Inc()
		if !isStranger {
			s.config.Log.Info("stream ended", "code", code.String(), "err", err)
		}
	}

	return err
}

func (s *Server) subscribe(g forwardingv1.Forwarding_SubscribeServer) error {
	admission, err := s.admitMediaServer(g.Context())
	if err != nil {
		return err
	}
	hello, t, err := s.hello(g, admission)
	if err != nil {
		return err
	}
	if err := s.arrivals.wait(g.Context(), hello.GetNamespace()); err != nil {
		return err
	}
	session, err := t.Connect(introductionOf(hello, admission), time.Now())
	if err != nil {
		return statusOf(err)
	}
	defer func() { session.Close(time.Now()) }()
	st := &stream{session: session, grpc: g, admission: admission}
	s.streams.add(st)
	defer s.streams.remove(st)
	defer st.questions.end()
	if err := g.Send(&forwardingv1.SubscribeResponse{
		Message: &forwardingv1.SubscribeResponse_Welcome{Welcome: s.welcome()},
	}); err != nil {
		return err // The status is the peer's.
	}
	s.config.Log.Info("media server connected", "namespace", hello.GetNamespace(), "mediaServer", hello.GetMediaServer())

	// Reader and writer are apart, so that a peer that does not read cannot keep
	// its reports from being heard, nor itself from being replaced. What blocks
	// them ends with the call; the server waits for them in Run.
	ended := make(chan error, 3)
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	s.goroutines.Go(func() { ended <- s.read(ctx, st) })
	s.goroutines.Go(func() { ended <- s.write(ctx, st) })
	if admission != nil {
		s.goroutines.Go(func() { ended <- s.guard(ctx, admission) })
	}

	select {
	case err := <-ended:
		return err
	case <-session.Replaced():
		return status.Errorf(codes.Aborted,
			"a newer stream of media server %q took over: give each media server a name of its own", hello.GetMediaServer())
	case <-s.ending:
		return status.Error(codes.Unavailable, "this replica is ending: dial another")
	}
}

func (s *Server) hello(
	g forwardingv1.Forwarding_SubscribeServer, admission *admission,
) (*forwardingv1.Hello, *knowledge.Tenant, error) {
	message, err := g.Recv()
	if err != nil {
		return nil, nil, endOf(err)
	}
	hello := message.GetHello()
	if hello == nil {
		return nil, nil, invalid("the first message is not Hello: begin with Hello")
	}
	if hello.Namespace, hello.MediaServer, err = admission.identify(hello.GetNamespace(),
		hello.GetMediaServer()); err != nil {
		return nil, nil, err
	}
	if err := checkHello(hello); err != nil {
		return nil, nil, err
	}
	t, err := s.tenantOf(hello.GetNamespace())

	return hello, t, err
}

// introductionOf is what the media server says of itself, and its token of it.
func introductionOf(hello *forwardingv1.Hello, admission *admission) knowledge.Introduction {
	introduction := knowledge.Introduction{
		Name: hello.GetMediaServer(), Incarnation: hello.GetIncarnation(),
		PeerAddress: hello.GetPeerAddress(), SignalingURL: hello.GetSignalingUrl(),
		MaxChannels: hello.GetMaxChannels(), MaxConnections: hello.GetMaxConnections(),
		ServesWithoutClaim: hello.GetServesWithoutClaim(),
	}
	if admission != nil {
		introduction.PodUID = admission.caller.PodUID
	}

	return introduction
}

// endOf makes CANCELED of a peer's orderly end, which is no error of the stream's.
func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}

	return err
}

func (s *Server) read(ctx context.Context, st *stream) error {
	for {
		// Who makes work and reads none of the answers is not read from.
		for st.session.Crowded() {
			select {
			case <-st.session.Room():
			case <-ctx.Done():
				return status.FromContextError(ctx.Err()).Err()
			}
		}
		message, err := st.grpc.Recv()
		if err != nil {
			return endOf(err)
		}
		if err := s.handle(st, message); err != nil {
			return statusOf(err)
		}
	}
}

func (s *Server) handle(st *stream, message *forwardingv1.SubscribeRequest) error {
	if err := check(message); err != nil {
		return err
	}
	now := time.Now()
	switch m := message.GetMessage().(type) {
	case *forwardingv1.SubscribeRequest_Report:
		return st.session.Report(m.Report, now)
	case *forwardingv1.SubscribeRequest_Acknowledgement:
		s.metrics.acknowledgements.Inc()

		return st.session.Acknowledge(m.Acknowledgement, now)
	case *forwardingv1.SubscribeRequest_Complete:
		return st.session.Complete(now)
	case *forwardingv1.SubscribeRequest_Farewell:
		st.session.Farewell(now)
	case *forwardingv1.SubscribeRequest_Resend:
		st.session.Resend(m.Resend.GetChannelId())
	case *forwardingv1.SubscribeRequest_Clock:
		if ahead, ok := st.clock.answered(m.Clock.GetTime().AsTime(), now); ok {
			st.session.Skew(ahead)
			if ahead.Abs() > time.Second && st.clock.tellOnce() {
				s.config.Log.Warn("a media server's clock differs from this one; pauses expire by its clock: synchronize both",
					"mediaServer", st.session.MediaServer(), "ahead", ahead)
			}
		}
	case *forwardingv1.SubscribeRequest_Answer:
		st.questions.answer(m.Answer)
	case *forwardingv1.SubscribeRequest_Standing:
		st.session.Standing(m.Standing.GetDraining())
	case *forwardingv1.SubscribeRequest_Token:
		st.admission.renew(m.Token.GetToken())
	}

	return nil
}

// clockEvery is how many versions are stated for each that asks for the clock, from
// the first one on: clocks drift slowly, and a thousand answers cost as much as a
// thousand versions.
const clockEvery = 6

// clock measures by how much a media server's clock is ahead of this one.
type clock struct {
	mu          sync.Mutex
	stated      int
	sent        time.Time // the last version that asked
	outstanding int
	told        bool
}

// asks tells whether the version that goes out now asks for the clock.
func (c *clock) asks(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stated++
	if c.stated%clockEvery != 1 {
		return false
	}
	c.sent = now
	c.outstanding++

	return true
}

// answered compares the clocks in the middle of the way there and back. It does
// not where it is not clear which version is answered.
func (c *clock) answered(theirs, now time.Time) (ahead time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outstanding--
	if c.outstanding != 0 {
		c.outstanding = max(c.outstanding, 0)

		return 0, false
	}

	return theirs.Sub(c.sent.Add(now.Sub(c.sent) / 2)), true
}

// tellOnce is true the first time.
func (c *clock) tellOnce() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.told
	c.told = true

	return !before
}
