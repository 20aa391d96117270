package serve

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

func newQuestion() *question {
	return &question{message: &forwardingv1.Question{ChannelId: "lobby"}, done: make(chan struct{})}
}

func TestQuestionsInFlightAreBounded(t *testing.T) {
	var qs questions
	var last *knowledge.Ask
	for range maxQuestions {
		last = &knowledge.Ask{}
		if err := qs.begin(last, newQuestion(), "ms"); err != nil {
			t.Fatal(err)
		}
	}
	expectCode(t, qs.begin(&knowledge.Ask{}, newQuestion(), "ms"), codes.Unavailable, "which is the bound")
	qs.forget(last, newQuestion())
	if err := qs.begin(&knowledge.Ask{}, newQuestion(), "ms"); err != nil {
		t.Error(err)
	}
}

func TestAnswersComeInPartsLateOrTooLarge(t *testing.T) {
	var qs questions
	q, ask := newQuestion(), &knowledge.Ask{}
	if err := qs.begin(ask, q, "ms"); err != nil {
		t.Fatal(err)
	}
	message := qs.put(knowledge.Outgoing{Ask: ask, Instance: 7, AskVersion: 9})
	if message.GetId() == 0 || message.GetInstance() != 7 || message.GetVersion() != 0 {
		t.Errorf("asked %v", message)
	}
	if qs.put(knowledge.Outgoing{Ask: ask, Instance: 7}) != nil {
		t.Error("asked twice")
	}
	qs.answer(&forwardingv1.Answer{QuestionId: 77, Count: 5}) // Nobody asked.
	edges := make([]*forwardingv1.Edge, 10)
	qs.answer(&forwardingv1.Answer{QuestionId: message.GetId(), Edges: edges, Count: 20, More: true})
	qs.answer(&forwardingv1.Answer{QuestionId: message.GetId(), Edges: edges, Count: 20})
	<-q.done
	if len(q.answer.GetEdges()) != 20 || q.answer.GetCount() != 20 || q.err != nil {
		t.Errorf("%d edges, count %d, %v", len(q.answer.GetEdges()), q.answer.GetCount(), q.err)
	}
	qs.answer(&forwardingv1.Answer{QuestionId: message.GetId(), Edges: edges}) // Late.

	q = newQuestion()
	if err := qs.begin(ask, q, "ms"); err != nil {
		t.Fatal(err)
	}
	message = qs.put(knowledge.Outgoing{Ask: ask, Instance: 7})
	qs.answer(&forwardingv1.Answer{QuestionId: message.GetId(), Edges: make([]*forwardingv1.Edge, maxEdges+1), More: true})
	<-q.done
	expectCode(t, q.err, codes.Unavailable, "more than was asked for")
	if len(qs.asked)+len(qs.byID) != 0 {
		t.Error("something is still in flight")
	}
}

// asked puts a question and returns it with its id.
func asked(t *testing.T, qs *questions, q *question) (*knowledge.Ask, uint64) {
	t.Helper()
	ask := &knowledge.Ask{}
	if err := qs.begin(ask, q, "ms"); err != nil {
		t.Fatal(err)
	}

	return ask, qs.put(knowledge.Outgoing{Ask: ask, Instance: 7}).GetId()
}

// withPauses is an edge under so many pauses.
func withPauses(n int) *forwardingv1.Edge {
	edge := &forwardingv1.Edge{RecvConnectionId: "R", SendConnectionId: "S", RecvRole: forwardingv1.Role_ROLE_RECVONLY}
	for i := range n {
		edge.PauseUids = append(edge.PauseUids, fmt.Sprintf("%036d", i))
	}

	return edge
}

// Answers that never end fail their questions when they have become too large
// together, and those that nobody waits for give back what they took at once: the
// stream's next question is answered.
func TestAnswersOfAStreamAreBoundedInBytes(t *testing.T) {
	var qs questions
	part := &forwardingv1.Answer{More: true}
	for range 1000 {
		part.Edges = append(part.Edges, withPauses(forwardingv1.MaxPausesTold))
	}
	fill := func(q *question, id uint64, most int) (parts int) {
		for ; parts < most && q.err == nil; parts++ {
			part.QuestionId = id
			qs.answer(part)
		}

		return parts
	}
	most := maxAnswerBytes / bytesOf(part)
	first, second, third := newQuestion(), newQuestion(), newQuestion()
	firstAsk, firstID := asked(t, &qs, first)
	_, secondID := asked(t, &qs, second)
	_, thirdID := asked(t, &qs, third)
	if fill(first, firstID, most/2); first.err != nil {
		t.Fatalf("half of the bound: %v", first.err)
	}
	if parts := fill(second, secondID, most); parts > most-most/2+1 {
		t.Errorf("%d parts beside half of %d", parts, most)
	}
	if second.err == nil {
		t.Fatal("more than the bound is taken")
	}
	<-second.done
	expectCode(t, second.err, codes.Unavailable, "more than 67108864 bytes, which is the bound")
	if len(second.answer.GetEdges()) > 0 {
		t.Errorf("what failed holds %d edges", len(second.answer.GetEdges()))
	}
	qs.forget(firstAsk, first) // Its time is out.
	if qs.bytes != 0 {
		t.Errorf("%d bytes are counted of answers that nobody waits for", qs.bytes)
	}
	fill(first, firstID, 1) // Late.
	fill(third, thirdID, most-1)
	qs.answer(&forwardingv1.Answer{QuestionId: thirdID, Count: 1})
	<-third.done
	if third.err != nil || len(third.answer.GetEdges()) != 1000*(most-1) || qs.bytes > maxAnswerBytes {
		t.Errorf("%d edges, %v, %d bytes", len(third.answer.GetEdges()), third.err, qs.bytes)
	}
}

func TestMostEdgesHaveRoomInAnAnswer(t *testing.T) {
	var qs questions
	q := newQuestion()
	_, id := asked(t, &qs, q)
	part := &forwardingv1.Answer{QuestionId: id, More: true}
	last := uint32(0xFFFF)
	for i := range 1000 {
		edge := withPauses(1)
		edge.RecvConnectionId, edge.SendConnectionId = fmt.Sprintf("%026d", i), fmt.Sprintf("%026d", i)
		for _, kind := range []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO} {
			edge.Streams = append(edge.Streams, &forwardingv1.Stream{
				Kind:               kind,
				Ssrc:               0xFFFFFFFF,
				LastSequenceNumber: &last,
				Withheld:           []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED},
			})
		}
		part.Edges = append(part.Edges, edge)
	}
	for range maxEdges / len(part.GetEdges()) {
		qs.answer(part)
	}
	if q.err != nil || len(q.answer.GetEdges()) != maxEdges {
		t.Errorf("%d edges of %d: %v", len(q.answer.GetEdges()), maxEdges, q.err)
	}
}

// Edges that are told by receiver count as those that are told one by one do.
func TestEdgesByReceiverAreBounded(t *testing.T) {
	told := func(edges int, id string) error {
		var qs questions
		q := newQuestion()
		ask, questionID := asked(t, &qs, q)
		receiver := &forwardingv1.ReceiverEdges{RecvConnectionId: "R"}
		for range edges {
			receiver.SendConnectionIds = append(receiver.SendConnectionIds, id)
		}
		qs.answer(&forwardingv1.Answer{QuestionId: questionID, Receivers: []*forwardingv1.ReceiverEdges{receiver}})
		<-q.done
		qs.forget(ask, q)

		return q.err
	}
	if err := told(maxEdges, fmt.Sprintf("%026d", 0)); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
	expectCode(t, told(maxEdges+1, "S"), codes.Unavailable, "more than was asked for")
	expectCode(t, told(maxEdges, strings.Repeat("S", 700)), codes.Unavailable, "which is the bound")
}

// All pauses are told of an edge that the question names, 16 of one of many.
func TestPausesOfAnEdgeAreBounded(t *testing.T) {
	var qs questions
	about := func(edge *forwardingv1.EdgeName, edges ...*forwardingv1.Edge) error {
		q := newQuestion()
		if edge != nil {
			q.message.Asks = &forwardingv1.Question_Edge{Edge: edge}
		}
		ask, id := asked(t, &qs, q)
		qs.answer(&forwardingv1.Answer{QuestionId: id, Edges: edges})
		<-q.done
		qs.forget(ask, q)

		return q.err
	}
	if err := about(nil, withPauses(16), withPauses(16)); err != nil {
		t.Errorf("16 of each of many: %v", err)
	}
	expectCode(t, about(nil, withPauses(1), withPauses(17)), codes.Unavailable, "more than 16 pauses of one of many edges")
	one := &forwardingv1.EdgeName{RecvConnectionId: "R", SendConnectionId: "S"}
	if err := about(one, withPauses(17)); err != nil {
		t.Errorf("17 of the edge that the question names: %v", err)
	}
	expectCode(t, about(one, withPauses(1), withPauses(1)), codes.Unavailable, "more than was asked for")
}
