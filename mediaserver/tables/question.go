package tables

import (
	"context"
	"fmt"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// maxQuestions bounds the questions of one stream that wait or are answered.
	maxQuestions = 1024
	// maxAnswers bounds the answers of one stream that are held in memory until
	// they are sent.
	maxAnswers = 4
	// maxWait bounds how long a question waits for a table.
	maxWait = time.Minute
)

// answer is the parts of an answer that are still to be sent.
type answer struct {
	parts []*forwardingv1.Answer
	// sent is called when the last one has been taken by the writer.
	sent func()
}

// asks has a question answered apart from the reader: a slow answer delays no table.
func (st *stream) asks(ctx context.Context, question *forwardingv1.Question) *malformed {
	s := st.subscriber
	s.mu.Lock()
	if st.asked >= maxQuestions {
		st.turnDown(question)
		s.mu.Unlock()

		return &malformed{"questions", fmt.Sprintf("a question on channel %q came while %d had no answer yet",
			question.GetChannelId(), maxQuestions)}
	}
	st.asked++
	// What the replica stated before it asked has to be looked at first.
	var arrival uint64
	if e := st.exchanges[question.GetChannelId()]; e != nil && e.statement != nil {
		arrival = e.statement.arrival
	}
	s.mu.Unlock()
	s.metrics.questions.Inc()
	st.questions.Go(func() { st.respond(ctx, question, arrival) })

	return nil
}

// turnDown answers that there are too many questions, as long as the replica takes
// the answers. Subscriber.mu is held.
func (st *stream) turnDown(question *forwardingv1.Question) {
	if len(st.answers) >= maxQuestions {
		return
	}
	st.asked++
	st.answers = append(st.answers, answer{
		parts: []*forwardingv1.Answer{{QuestionId: question.GetId(),
			Error: fmt.Sprintf("the media server has %d questions to answer already; ask again later", maxQuestions)}},
		sent: func() {},
	})
	st.wakeWriter()
}

// respond answers one question.
func (st *stream) respond(ctx context.Context, question *forwardingv1.Question, arrival uint64) {
	problem := st.awaitTable(ctx, question, arrival)
	select {
	case st.asking <- struct{}{}:
	case <-ctx.Done():
		return
	}
	whole := &forwardingv1.Answer{Error: problem}
	if reach := question.GetReach(); reach != nil {
		switch reached, err := st.subscriber.config.Peers.Reaches(ctx, reach); {
		case err != nil:
			whole.Error = err.Error()
		case reached:
			whole.Count = 1
		}
	} else if problem == "" {
		// The Host's answer is not changed: it may be kept there.
		told := st.subscriber.host.Ask(question)
		whole = &forwardingv1.Answer{Error: told.GetError(), Edges: told.GetEdges(), Count: told.GetCount(),
			Pauses: told.GetPauses(), Receivers: told.GetReceivers()}
	}
	whole.QuestionId = question.GetId()
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	st.answers = append(st.answers, answer{
		parts: cutAnswer(st.subscriber.partBytes, whole),
		sent:  func() { <-st.asking },
	})
	st.wakeWriter()
}

// nextAnswer takes the next part of the answers, one of each in turn; nil: none
// waits. Subscriber.mu is held.
func (st *stream) nextAnswer() *forwardingv1.Answer {
	if len(st.answers) == 0 {
		return nil
	}
	first := st.answers[0]
	st.answers = st.answers[1:]
	part := first.parts[0]
	if first.parts = first.parts[1:]; len(first.parts) > 0 {
		st.answers = append(st.answers, first)
	} else {
		st.asked--
		first.sent()
	}

	return part
}

// awaitTable returns when the table held is at least of the question's version and
// what the replica stated before the question has been looked at, or with the
// problem that this took too long.
func (st *stream) awaitTable(ctx context.Context, question *forwardingv1.Question, arrival uint64) (problem string) {
	if question.GetVersion() == 0 {
		return ""
	}
	wait := min(max(question.GetWait().AsDuration(), 0), maxWait)
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		looked, held := st.holds(question, arrival)
		if looked == nil {
			return ""
		}
		select {
		case <-looked:
		case <-deadline.C:
			return fmt.Sprintf("the table of channel %q at version %d is not enforced after %s: %s", question.GetChannelId(),
				question.GetVersion(), wait, held)
		case <-ctx.Done():
			return ctx.Err().Error()
		}
	}
}

// holds returns nil when the question can be answered, else what is closed when to
// look again, and what is held now.
func (st *stream) holds(question *forwardingv1.Question, arrival uint64) (looked <-chan struct{}, held string) {
	s := st.subscriber
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channelOf(question.GetChannelId())
	h := c.heldOf(question.GetInstance())
	if h != nil && h.version >= question.GetVersion() && c.settled >= arrival && !st.contradicts(c, h) {
		return nil, ""
	}
	if c.looked == nil {
		c.looked = make(chan struct{})
	}
	if h == nil {
		return c.looked, "this instance holds none"
	}

	return c.looked, fmt.Sprintf("the one held is at version %d", h.version)
}

// contradicts tells whether the replica, which is at an older version than the one
// held, says something else: it lags for a moment, or the table held is of a history
// that a restored backup ended. Subscriber.mu is held.
func (st *stream) contradicts(c *channel, h *held) bool {
	e := st.exchanges[c.id]

	return st.fresh() && st.version < h.version && e != nil && e.statement != nil && len(e.statement.differs) > 0
}
