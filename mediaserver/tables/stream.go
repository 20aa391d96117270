package tables

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// silence is how long a replica may say nothing, three of its versions, before
// its stream is opened anew.
const silence = 15 * time.Second

var errSilent = fmt.Errorf("the manager said nothing for %s", silence)

type call = grpc.BidiStreamingClient[forwardingv1.SubscribeRequest, forwardingv1.SubscribeResponse]

// stream is one subscription to one replica.
type stream struct {
	subscriber *Subscriber
	address    string
	call       call
	// placement is the replica as it decides where channels are hosted.
	placement forwardingv1.PlacementClient
	// wake has room for one: the writer looks at everything when woken.
	wake chan struct{}
	// ended is closed when the stream has left.
	ended chan struct{}
	// questions are the goroutines that answer them.
	questions sync.WaitGroup
	// renews tells that the replica takes renewed tokens, and token is the last one
	// that it was shown. Both are the reader's.
	renews bool
	token  string
	// asking has room for the answers that may be held in memory.
	asking chan struct{}

	// The fields below are guarded by Subscriber.mu.

	// queue holds each channel of which something may be to say once, in the order
	// of their being marked; so it is bounded by the number of channels.
	queue  []string
	marked map[string]struct{}
	// exchanges holds what was said about each channel that was reported.
	exchanges map[string]*exchange
	// asked counts the questions that have not been answered.
	asked   int
	answers []answer
	// clocksDue counts the replica's versions that asked for the clock and are to be
	// answered: it measures by the answer to each.
	clocksDue int
	// tokenDue is the renewed token that is still to be said.
	tokenDue string
	// retired tells that the replica was told of Subscriber.retiring.
	retired bool

	// awaited are the channels of the first reports that have no table yet.
	awaited  map[string]struct{}
	complete bool
	// confirmed tells that the replica stated its version after the first reports.
	confirmed    bool
	version      uint64
	versionKnown bool
	stale        bool
	// era is Subscriber.era when the replica last vouched for its tables.
	era uint64
}

// exchange is what a stream and its replica said about one instance of a channel.
type exchange struct {
	// instance and epoch are those of the last report; epoch 0: the next report is
	// whole.
	instance, epoch uint64
	// acknowledged tells that sequence and acknowledgedEpoch are those of the last
	// acknowledgement; not so: the next one is whole.
	acknowledged                bool
	sequence, acknowledgedEpoch uint64
	// owed tells that a table is to be acknowledged, though nothing may have changed.
	owed bool
	// statement is the table as the replica stated it last; nil before the first.
	statement *statement
	// incoming are the parts so far of the replica's next table.
	incoming *incoming
	// skipping tells that the parts that follow belong to a table that was given up.
	skipping bool
	// resending tells that the replica was asked to say the table anew, resendDue
	// that this is still to be sent.
	resending, resendDue bool
	// refused is when the replica refused the channel; zero: not so.
	refused time.Time
	// refusal is the reason that was logged last.
	refusal string
}

func newStream(s *Subscriber, address string, call call) *stream {
	return &stream{
		subscriber: s,
		address:    address,
		call:       call,
		wake:       make(chan struct{}, 1),
		ended:      make(chan struct{}),
		asking:     make(chan struct{}, maxAnswers),
		marked:     make(map[string]struct{}),
		exchanges:  make(map[string]*exchange),
		awaited:    make(map[string]struct{}),
	}
}

// fresh tells whether the replica vouches for its tables. Subscriber.mu is held.
func (st *stream) fresh() bool {
	return st.versionKnown && !st.stale
}

// mark notes that something may be to say about the channel. Subscriber.mu is held.
func (st *stream) mark(channelID string) {
	if _, ok := st.marked[channelID]; !ok {
		st.marked[channelID] = struct{}{}
		st.queue = append(st.queue, channelID)
	}
	st.wakeWriter()
}

func (st *stream) wakeWriter() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// work is one round of the writer: what is zero waits for nothing.
type work struct {
	clock     bool
	retire    bool
	token     string
	channelID string
	answer    *forwardingv1.Answer
}

// next takes the channel that has waited longest, and the next part of an answer:
// a long answer delays no channel, nor the reverse.
func (st *stream) next() (w work, due bool) {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	if w.clock = st.clocksDue > 0; w.clock {
		st.clocksDue--
	}
	if w.retire = st.subscriber.retiring && !st.retired; w.retire {
		st.retired = true
	}
	w.token, st.tokenDue = st.tokenDue, ""
	if len(st.queue) > 0 {
		w.channelID = st.queue[0]
		st.queue = st.queue[1:]
		delete(st.marked, w.channelID)
	}
	w.answer = st.nextAnswer()

	return w, w != work{}
}

// write says everything once, then what changes. It is the one writer of the call.
func (st *stream) write(ctx context.Context) error {
	hello := st.subscriber.config.hello()
	if err := st.call.Send(&forwardingv1.SubscribeRequest{
		Message: &forwardingv1.SubscribeRequest_Hello{Hello: hello},
	}); err != nil {
		return err
	}
	// The stream has joined before: a change after this look is in the queue.
	hosted := st.subscriber.host.Hosted()
	for _, channelID := range hosted {
		if err := st.sendReport(channelID); err != nil {
			return err
		}
	}
	st.completeReports(hosted)
	complete := &forwardingv1.ReportComplete{}
	if err := st.call.Send(&forwardingv1.SubscribeRequest{
		Message: &forwardingv1.SubscribeRequest_Complete{Complete: complete},
	}); err != nil {
		return err
	}

	return st.writeChanges(ctx)
}

// hello is the first message of a stream.
func (c *Config) hello() *forwardingv1.Hello {
	return &forwardingv1.Hello{
		Namespace: c.Namespace, MediaServer: c.Name, Incarnation: c.Incarnation, Features: features(),
		PeerAddress: c.Standing.GetPeerAddress(), SignalingUrl: c.Standing.GetSignalingUrl(),
		ServesWithoutClaim: c.Standing.GetServesWithoutClaim(),
		MaxChannels:        c.Standing.GetMaxChannels(), MaxConnections: c.Standing.GetMaxConnections(),
	}
}

// features names what this side can do beyond the first version of the protocol.
func features() []string { return []string{forwardingv1.FeatureToken} }

// renew says the token where it is another than the replica was shown last. It is
// looked at whenever the replica states its version: kubelet renews a token long
// before it expires.
func (st *stream) renew() {
	if !st.renews {
		return
	}
	token, err := st.subscriber.config.token()
	if err != nil {
		st.subscriber.config.Log.Warn("the token cannot be read; the last one goes on", "manager", st.address, "error", err)

		return
	}
	if token == st.token {
		return
	}
	st.token = token
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	st.tokenDue = token
	st.wakeWriter()
}

// completeReports notes that everything hosted has been reported, so that what
// the replica says from now on can make the answer complete.
func (st *stream) completeReports(hosted []string) {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	st.complete = true
	for _, channelID := range hosted {
		st.mark(channelID)
	}
}

func (st *stream) writeChanges(ctx context.Context) error {
	for {
		w, due := st.next()
		if !due {
			if st.subscriber.isDraining() {
				return st.sayFarewell()
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-st.wake:
			}

			continue
		}
		if err := st.do(w); err != nil {
			return err
		}
	}
}

func (st *stream) do(w work) error {
	if w.clock {
		if err := st.call.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Clock{
			Clock: &forwardingv1.Clock{Time: timestamppb.Now()},
		}}); err != nil {
			return err
		}
	}
	if w.retire {
		if err := st.call.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Standing{
			Standing: &forwardingv1.Standing{Draining: true},
		}}); err != nil {
			return err
		}
	}
	if w.token != "" {
		if err := st.call.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Token{
			Token: &forwardingv1.Token{Token: w.token},
		}}); err != nil {
			return err
		}
	}
	if w.channelID != "" {
		if err := st.sendChanges(w.channelID); err != nil {
			return err
		}
	}
	if w.answer == nil {
		return nil
	}

	return st.call.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Answer{Answer: w.answer}})
}

// read hands what the replica says to the subscriber until the stream ends.
func (st *stream) read(ctx context.Context, cancel context.CancelCauseFunc) error {
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	for {
		response, err := st.call.Recv()
		if err != nil {
			return err
		}
		watchdog.Reset(silence)
		if bad := st.take(ctx, response); bad != nil {
			st.dropped(ctx, bad)
		}
	}
}

// take handles one message of the replica; not nil: it was dropped.
func (st *stream) take(ctx context.Context, response *forwardingv1.SubscribeResponse) *malformed {
	s := st.subscriber
	switch message := response.GetMessage().(type) {
	case *forwardingv1.SubscribeResponse_Welcome:
		// Not before: who is refused tries again and again.
		s.config.Log.Info("stream to a manager", "manager", st.address)
		st.renews = slices.Contains(message.Welcome.GetFeatures(), forwardingv1.FeatureToken)

		return nil
	case *forwardingv1.SubscribeResponse_Table:
		return s.stated(ctx, st, message.Table)
	case *forwardingv1.SubscribeResponse_ReplicaVersion:
		s.heard(st, message.ReplicaVersion)
		st.renew()

		return nil
	case *forwardingv1.SubscribeResponse_Question:
		return st.asks(ctx, message.Question)
	case *forwardingv1.SubscribeResponse_Refusal:
		return s.refused(st, message.Refusal)
	case *forwardingv1.SubscribeResponse_Resend:
		return s.resend(st, message.Resend)
	case *forwardingv1.SubscribeResponse_Members:
		s.config.Peers.Members(st.address, message.Members)

		return nil
	case *forwardingv1.SubscribeResponse_Unclaimed:
		s.config.Peers.Unclaimed(message.Unclaimed.GetChannelId())

		return nil
	default:
		return &malformed{"no_message", "the response is empty or of a kind unknown here"}
	}
}

// dropped counts and logs a message that was not taken.
func (st *stream) dropped(ctx context.Context, bad *malformed) {
	st.subscriber.metrics.malformed.WithLabelValues(bad.reason).Inc()
	level := slog.LevelWarn
	if bad.reason == notHosted {
		// Usually the channel ended while its table was under way.
		level = slog.LevelDebug
	}
	st.subscriber.config.Log.Log(ctx, level, "dropped what a manager said", "manager", st.address, "reason", bad.reason,
		"detail", bad.detail)
}

// sayFarewell ends the stream in order. Only of a process that hosts nothing any more
// can managers take silence for an end.
func (st *stream) sayFarewell() error {
	if len(st.subscriber.host.Hosted()) == 0 {
		farewell := &forwardingv1.SubscribeRequest{
			Message: &forwardingv1.SubscribeRequest_Farewell{Farewell: &forwardingv1.Farewell{}},
		}
		if err := st.call.Send(farewell); err != nil {
			return err
		}
	}

	return st.call.CloseSend()
}
