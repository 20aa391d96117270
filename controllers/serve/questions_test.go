package serve

import (
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
