package serve

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

const (
	// maxQuestions bounds the questions in flight on one stream.
	maxQuestions = 1000
	// maxEdges bounds the edges of one answer.
	maxEdges = 100_000
	// late is how much longer than the media server's own wait an answer may take.
	late = 500 * time.Millisecond
)

// questions are those in flight on one stream.
type questions struct {
	mu    sync.Mutex
	last  uint64
	asked map[*knowledge.Ask]*question
	byID  map[uint64]*question
	ended bool
}

// question is one of them, and what has been answered to it.
type question struct {
	message *forwardingv1.Question
	until   time.Time
	atLeast bool // the table's version matters

	done   chan struct{}
	answer forwardingv1.Answer
	err    error
}

func unavailable(format string, args ...any) error {
	return status.Errorf(codes.Unavailable, format, args...)
}

// ask puts a question about a channel to the media server of the session and
// waits for the whole answer. Nothing is answered, without an error, by one that
// hosts the channel no longer.
func (s *Server) ask(ctx context.Context, session *knowledge.Session, q *question) (*forwardingv1.Answer, error) {
	st := s.streams.find(session)
	if st == nil {
		return nil, unavailable("media server %q is out of touch: ask again", session.MediaServer())
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.AnswerTimeout+late)
	defer cancel()
	q.done, q.until = make(chan struct{}), time.Now().Add(s.config.AnswerTimeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(q.until) {
		q.until = deadline
	}
	a := &knowledge.Ask{ChannelID: q.message.GetChannelId()}
	if err := st.questions.begin(a, q, session.MediaServer()); err != nil {
		return nil, err
	}
	defer st.questions.forget(a, q)
	if !session.Ask(a) {
		return nil, unavailable("media server %q is out of touch: ask again", session.MediaServer())
	}
	select {
	case <-q.done:
		return &q.answer, q.err
	case <-s.ending:
		return nil, s.endingError()
	case <-ctx.Done():
		return nil, unavailable("media server %q has not answered in %s: ask again", session.MediaServer(), s.config.AnswerTimeout)
	}
}

func (qs *questions) begin(a *knowledge.Ask, q *question, mediaServer string) error {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	switch {
	case qs.ended:
		return unavailable("media server %q is out of touch: ask again", mediaServer)
	case len(qs.asked)+len(qs.byID) >= maxQuestions:
		return unavailable("media server %q has %d questions to answer, which is the bound: ask again", mediaServer, maxQuestions)
	case qs.asked == nil:
		qs.asked, qs.byID = map[*knowledge.Ask]*question{}, map[uint64]*question{}
	}
	qs.asked[a] = q

	return nil
}

// put numbers the question whose turn it is; nil: nobody waits for it, or the
// channel is hosted no longer.
func (qs *questions) put(next knowledge.Outgoing) *forwardingv1.Question {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.asked[next.Ask]
	if q == nil {
		return nil
	}
	delete(qs.asked, next.Ask)
	if next.Instance == 0 {
		if next.Refused != "" {
			q.err = unavailable("nothing is known of the channel: %s", next.Refused)
		}
		close(q.done)

		return nil
	}
	qs.last++
	qs.byID[qs.last] = q
	q.message.Id, q.message.Instance = qs.last, next.Instance
	if q.atLeast {
		q.message.Version = next.AskVersion
	}
	q.message.Wait = durationpb.New(max(time.Until(q.until), 0))

	return q.message
}

// answer takes a part of an answer. One that nobody waits for is late, not wrong.
func (qs *questions) answer(a *forwardingv1.Answer) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.byID[a.GetQuestionId()]
	if q == nil {
		return
	}
	q.answer.Edges = append(q.answer.Edges, a.GetEdges()...)
	q.answer.Pauses = append(q.answer.Pauses, a.GetPauses()...)
	q.answer.Count = max(q.answer.Count, a.GetCount())
	switch {
	case a.GetError() != "":
		q.err = unavailable("a media server cannot answer: %s", a.GetError())
	case len(q.answer.GetEdges()) > maxEdges || len(q.answer.GetPauses()) > 2*tables.MaxPauses:
		q.err = unavailable("a media server answers more than was asked for")
	case a.GetMore():
		return
	}
	delete(qs.byID, a.GetQuestionId())
	close(q.done)
}

func (qs *questions) forget(a *knowledge.Ask, q *question) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	delete(qs.asked, a)
	if qs.byID[q.message.GetId()] == q {
		delete(qs.byID, q.message.GetId())
	}
}

// end fails all that is in flight: the stream has ended.
func (qs *questions) end() {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	qs.ended = true
	fail := func(q *question) {
		q.err = unavailable("a media server went out of touch before it answered: ask again")
		close(q.done)
	}
	for _, q := range qs.asked {
		fail(q)
	}
	for _, q := range qs.byID {
		fail(q)
	}
	clear(qs.asked)
	clear(qs.byID)
}
