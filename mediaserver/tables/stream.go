package tables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// silence is how long a replica may say nothing, three of its versions, before
// its stream is opened anew.
const silence = 15 * time.Second

var errSilent = fmt.Errorf("the manager said nothing for %s", silence)

type call = grpc.BidiStreamingClient[forwardingv1.SubscribeRequest, forwardingv1.SubscribeResponse]

// mark is what is to be sent about a channel.
type mark uint8

const (
	markReport mark = 1 << iota
	markAcknowledgement
)

// offer is what a replica said last about a channel.
type offer struct {
	table *forwardingv1.Table
	// arrival orders the offers of all streams.
	arrival uint64
	// answered tells that the replica was told what the table led to.
	answered bool
}

// stream is one subscription to one replica.
type stream struct {
	subscriber *Subscriber
	address    string
	call       call
	// wake has room for one: the writer looks at everything when woken.
	wake chan struct{}
	// ended is closed when the stream has left.
	ended chan struct{}

	// The fields below are guarded by Subscriber.mu.

	// queue holds each channel that has marks once, in the order of their being
	// set; so it is bounded by the number of channels.
	queue []string
	marks map[string]mark
	// reported holds the last report sent of each channel; a table of any other
	// channel is not expected.
	reported map[string]*forwardingv1.ChannelReport
	offers   map[string]*offer
	// awaited are the channels of the first reports that have no table yet.
	awaited  map[string]struct{}
	complete bool
	// confirmed tells that the replica stated its version after the first reports.
	confirmed    bool
	version      uint64
	versionKnown bool
	stale        bool
}

func newStream(s *Subscriber, address string, call call) *stream {
	return &stream{
		subscriber: s,
		address:    address,
		call:       call,
		wake:       make(chan struct{}, 1),
		ended:      make(chan struct{}),
		marks:      make(map[string]mark),
		reported:   make(map[string]*forwardingv1.ChannelReport),
		offers:     make(map[string]*offer),
		awaited:    make(map[string]struct{}),
	}
}

// fresh tells whether the replica vouches for its tables. Subscriber.mu is held.
func (st *stream) fresh() bool {
	return st.versionKnown && !st.stale
}

// mark notes what is to be sent. Subscriber.mu is held.
func (st *stream) mark(channelID string, m mark) {
	if st.marks[channelID] == 0 {
		st.queue = append(st.queue, channelID)
	}
	st.marks[channelID] |= m
	st.wakeWriter()
}

func (st *stream) wakeWriter() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// next takes the channel that has waited longest; m is 0 when none waits.
func (st *stream) next() (channelID string, m mark) {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	if len(st.queue) == 0 {
		return "", 0
	}
	channelID = st.queue[0]
	st.queue = st.queue[1:]
	m = st.marks[channelID]
	delete(st.marks, channelID)
	return channelID, m
}

// write says everything once, then what changes. It is the one writer of the call.
func (st *stream) write(ctx context.Context) error {
	config := &st.subscriber.config
	hello := &forwardingv1.Hello{Namespace: config.Namespace, MediaServer: config.Name}
	if err := st.call.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Hello{Hello: hello}}); err != nil {
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
	if err := st.call.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Complete{Complete: complete}}); err != nil {
		return err
	}
	return st.writeChanges(ctx)
}

// completeReports notes that everything hosted has been reported, so that what
// the replica says from now on can make the answer complete.
func (st *stream) completeReports(hosted []string) {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	st.complete = true
	for _, channelID := range hosted {
		st.mark(channelID, markAcknowledgement)
	}
}

func (st *stream) writeChanges(ctx context.Context) error {
	for {
		channelID, m := st.next()
		if m == 0 {
			if st.subscriber.isDraining() {
				return st.call.CloseSend()
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-st.wake:
			}
			continue
		}
		if m&markReport != 0 {
			if err := st.sendReport(channelID); err != nil {
				return err
			}
		}
		if m&markAcknowledgement != 0 {
			if err := st.sendAcknowledgement(channelID); err != nil {
				return err
			}
		}
	}
}

// sendReport sends the channel's report unless the replica has that already: it
// answers every report with a table, and a table may be why the Host called
// Changed.
func (st *stream) sendReport(channelID string) error {
	report := st.subscriber.host.Report(channelID)
	if report == nil {
		report = &forwardingv1.ChannelReport{ChannelId: channelID}
	}
	if !st.noteReport(channelID, report) {
		return nil
	}
	return st.call.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Report{Report: report}})
}

// noteReport tells whether the report is news. It runs before the sending,
// because the answer may be faster than the return of Send.
func (st *stream) noteReport(channelID string, report *forwardingv1.ChannelReport) bool {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	last, known := st.reported[channelID]
	if len(report.GetConnections()) == 0 {
		delete(st.reported, channelID)
		delete(st.offers, channelID)
		delete(st.awaited, channelID)
		st.subscriber.noteReady(st)
		return known
	}
	if known && proto.Equal(last, report) {
		return false
	}
	st.reported[channelID] = report
	if !st.complete {
		st.awaited[channelID] = struct{}{}
	}
	return true
}

func (st *stream) sendAcknowledgement(channelID string) error {
	// Version first: it may then be too old for what follows, never too new.
	version, reported := st.heldVersion(channelID)
	acknowledgement := st.subscriber.host.Acknowledgement(channelID)
	if acknowledgement == nil || !reported {
		return nil
	}
	if version > acknowledgement.GetVersion() {
		// A newer table with the same pauses was not applied again.
		acknowledgement = &forwardingv1.Acknowledgement{
			ChannelId: acknowledgement.GetChannelId(),
			Version:   version,
			Pauses:    acknowledgement.GetPauses(),
		}
	}
	return st.call.Send(&forwardingv1.SubscribeRequest{
		Message: &forwardingv1.SubscribeRequest_Acknowledgement{Acknowledgement: acknowledgement},
	})
}

func (st *stream) heldVersion(channelID string) (version uint64, reported bool) {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	_, reported = st.reported[channelID]
	if c := st.subscriber.channels[channelID]; c != nil {
		version = c.held.GetVersion()
	}
	return version, reported
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
		switch message := response.GetMessage().(type) {
		case *forwardingv1.SubscribeResponse_Table:
			err = st.subscriber.offered(st, message.Table)
		case *forwardingv1.SubscribeResponse_ReplicaVersion:
			st.subscriber.heard(st, message.ReplicaVersion)
		default:
			err = &malformed{"no_message", "the response is empty or of a kind unknown here"}
		}
		if bad, ok := errors.AsType[*malformed](err); ok {
			st.subscriber.metrics.malformed.WithLabelValues(bad.reason).Inc()
			level := slog.LevelWarn
			if bad.reason == notHosted {
				// Usually the channel ended while its table was under way.
				level = slog.LevelDebug
			}
			st.subscriber.config.Log.Log(ctx, level, "dropped a message of a manager", "manager", st.address, "reason", bad.reason, "detail", bad.detail)
		}
	}
}
