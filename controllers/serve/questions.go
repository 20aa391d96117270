package serve

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
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
	// maxAnswerBytes bounds what the answers of one stream take in memory, from their
	// first part until who asked has them or waits no longer: a hundred thousand edges
	// have room, each with both kinds and a pause.
	maxAnswerBytes = 64 << 20
	// messageBytes and stringBytes are about what a message and a string within an
	// answer take in memory beside what they have on the wire.
	messageBytes, stringBytes = 128, 32
	// late is how much longer than the media server's own wait an answer may take.
	late = 500 * time.Millisecond
)

// questions are those in flight on one stream.
type questions struct {
	mu    sync.Mutex
	last  uint64
	asked map[*knowledge.Ask]*question
	byID  map[uint64]*question
	bytes int // that their answers take
	ended bool
}

// question is one of them, and what has been answered to it.
type question struct {
	message *forwardingv1.Question
	until   time.Time
	atLeast bool // the table's version matters
	// patience is how long the media server may take; 0: AnswerTimeout.
	patience time.Duration

	done   chan struct{}
	answer forwardingv1.Answer
	bytes  int // that the answer takes
	err    error
}

func unavailable(format string, args ...any) error {
	return status.Errorf(codes.Unavailable, format, args...)
}

// ask puts a question to the media server of the session, about a channel mostly, and
// waits for the whole answer. Nothing is answered, without an error, by one that
// hosts the channel no longer.
func (s *Server) ask(ctx context.Context, session *knowledge.Session, q *question) (*forwardingv1.Answer, error) {
	st := s.streams.find(session)
	if st == nil {
		return nil, unavailable("media server %q is out of touch: ask again", session.MediaServer())
	}
	setDefault(&q.patience, s.config.AnswerTimeout)
	ctx, cancel := context.WithTimeout(ctx, q.patience+late)
	defer cancel()
	q.done, q.until = make(chan struct{}), time.Now().Add(q.patience)
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
		return nil, unavailable("media server %q has not answered in %s: ask again", session.MediaServer(), q.patience)
	}
}

func (qs *questions) begin(a *knowledge.Ask, q *question, mediaServer string) error {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	switch {
	case qs.ended:
		return unavailable("media server %q is out of touch: ask again", mediaServer)
	case len(qs.asked)+len(qs.byID) >= maxQuestions:
		return unavailable("media server %q has %d questions to answer, which is the bound: ask again", mediaServer,
			maxQuestions)
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
	if next.Instance == 0 && q.message.GetReach() == nil {
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
	q.err = qs.keep(q, a)
	if q.err == nil && a.GetMore() {
		return
	}
	if q.err != nil {
		qs.release(q)
		proto.Reset(&q.answer)
	}
	delete(qs.byID, a.GetQuestionId())
	close(q.done)
}

// keep adds a part to those before it, or tells why the question fails: it alone,
// whatever is wrong with the answer. The caller holds the lock.
func (qs *questions) keep(q *question, a *forwardingv1.Answer) error {
	bytes := bytesOf(a)
	switch {
	case a.GetError() != "":
		return unavailable("a media server cannot answer: %s", a.GetError())
	case edgesOf(&q.answer)+edgesOf(a) > q.most() || len(q.answer.GetPauses())+len(a.GetPauses()) > 2*tables.MaxPauses:
		return unavailable("a media server answers more than was asked for")
	case q.message.GetEdge() == nil && slices.ContainsFunc(a.GetEdges(), manyPauses):
		return unavailable("a media server tells more than %d pauses of one of many edges", forwardingv1.MaxPausesTold)
	case qs.bytes+bytes > maxAnswerBytes:
		return unavailable("the answers of a media server take more than %d bytes, which is the bound: ask again, "+
			"or about fewer edges", maxAnswerBytes)
	}
	qs.bytes += bytes
	q.bytes += bytes
	q.answer.Edges = append(q.answer.Edges, a.GetEdges()...)
	q.answer.Receivers = append(q.answer.Receivers, a.GetReceivers()...)
	q.answer.Pauses = append(q.answer.Pauses, a.GetPauses()...)
	q.answer.Count = max(q.answer.Count, a.GetCount())

	return nil
}

// edgesOf is how many edges are told, in either way.
func edgesOf(a *forwardingv1.Answer) int {
	edges := len(a.GetEdges())
	for _, receiver := range a.GetReceivers() {
		edges += len(receiver.GetSendConnectionIds())
	}

	return edges
}

// most is how many edges the answer may have.
func (q *question) most() int {
	switch {
	case q.message.GetEdge() != nil:
		return 1
	case q.message.GetReach() != nil:
		return 0
	default:
		return maxEdges
	}
}

func manyPauses(edge *forwardingv1.Edge) bool {
	return len(edge.GetPauseUids()) > forwardingv1.MaxPausesTold
}

// bytesOf is about what a part of an answer takes in memory.
func bytesOf(a *forwardingv1.Answer) int {
	bytes := proto.Size(a) + messageBytes*(len(a.GetEdges())+len(a.GetReceivers())+len(a.GetPauses()))
	for _, receiver := range a.GetReceivers() {
		bytes += stringBytes * len(receiver.GetSendConnectionIds())
	}
	for _, edge := range a.GetEdges() {
		bytes += messageBytes*len(edge.GetStreams()) + stringBytes*len(edge.GetPauseUids())
	}

	return bytes
}

// release no longer counts what the answer takes. The caller holds the lock.
func (qs *questions) release(q *question) {
	qs.bytes -= q.bytes
	q.bytes = 0
}

// forget ends a question: who asked has the answer, or waits no longer.
func (qs *questions) forget(a *knowledge.Ask, q *question) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	delete(qs.asked, a)
	if qs.byID[q.message.GetId()] == q {
		delete(qs.byID, q.message.GetId())
	}
	qs.release(q)
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
