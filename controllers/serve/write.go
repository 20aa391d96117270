package serve

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// overhead is more than what a message has beside its repeated fields.
const overhead = 1024

// write is the stream's one writer. What it writes comes in the order in which it
// came up; nothing waits for more to come.
func (s *Server) write(ctx context.Context, st *stream) error {
	beat := time.NewTimer(s.untilBeat())
	defer beat.Stop()
	for {
		for next, ok := st.session.Next(); ok; next, ok = st.session.Next() {
			if err := s.send(st, next); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-beat.C:
			st.session.StateVersion()
			beat.Reset(s.untilBeat())
		case <-st.session.Wake():
		}
	}
}

// untilBeat is VersionInterval, or up to a fiftieth less: many streams state their
// versions at the same instants, so that one wake-up of the process serves them all.
func (s *Server) untilBeat() time.Duration {
	return time.Until(time.Now().Add(s.config.VersionInterval).Truncate(s.config.VersionInterval / 50))
}

func (s *Server) send(st *stream, next knowledge.Outgoing) error {
	response := &forwardingv1.SubscribeResponse{}
	switch {
	case next.Table != nil:
		return s.sendTable(st, next.Table)
	case next.Version != nil:
		next.Version.Clock = st.clock.asks(time.Now())
		response.Message = &forwardingv1.SubscribeResponse_ReplicaVersion{ReplicaVersion: next.Version}
	case next.Refusal != nil:
		response.Message = &forwardingv1.SubscribeResponse_Refusal{Refusal: next.Refusal}
	case next.Resend != nil:
		response.Message = &forwardingv1.SubscribeResponse_Resend{Resend: next.Resend}
	case next.Unclaimed != nil:
		s.metrics.unclaimed.Inc()
		response.Message = &forwardingv1.SubscribeResponse_Unclaimed{Unclaimed: next.Unclaimed}
	case next.Members != nil:
		response.Message = &forwardingv1.SubscribeResponse_Members{Members: next.Members}
	case next.Ask != nil:
		question := st.questions.put(next)
		if question == nil {
			return nil
		}
		s.metrics.questions.Inc()
		response.Message = &forwardingv1.SubscribeResponse_Question{Question: question}
	}

	return st.grpc.Send(response) // The status is the peer's.
}

// sendTable sends the table in as many parts as it takes.
func (s *Server) sendTable(st *stream, table *knowledge.Table) error {
	s.metrics.tables.Inc()
	send := func(part *forwardingv1.Table) error {
		// The status is the peer's.
		return st.grpc.Send(&forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: part}})
	}

	return cut(table, send)
}

// cut makes parts of at most forwardingv1.MaxMessageBytes of the table.
func cut(table *knowledge.Table, send func(*forwardingv1.Table) error) error {
	begin := func() *forwardingv1.Table {
		return &forwardingv1.Table{
			ChannelId: table.ChannelID, Instance: table.Instance,
			Version: table.Version, BaseVersion: table.Base, Stale: table.Stale,
		}
	}
	part, size := begin(), overhead
	room := func(more int) error {
		if size += more; size <= forwardingv1.MaxMessageBytes {
			return nil
		}
		part.More = true
		if err := send(part); err != nil {
			return err
		}
		part, size = begin(), overhead+more

		return nil
	}
	for _, object := range table.Set {
		pause, err := tables.Pause(object)
		if pause == nil || err != nil {
			return fmt.Errorf("pause %s/%s is in the table of channel %q and puts no rule: %w", object.Namespace, object.Name,
				table.ChannelID, err)
		}
		if err := room(fieldSize(proto.Size(pause))); err != nil {
			return err
		}
		part.Set = append(part.Set, pause)
	}
	for _, uid := range table.Removed {
		if err := room(fieldSize(len(uid))); err != nil {
			return err
		}
		part.Removed = append(part.Removed, uid)
	}

	return send(part)
}

// fieldSize bounds what an element of so many bytes takes in a repeated field.
func fieldSize(size int) int { return size + 6 }
