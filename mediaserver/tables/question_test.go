package tables

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func (s *session) ask(t *testing.T, question *forwardingv1.Question) {
	t.Helper()
	s.send(t, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Question{Question: question}})
}

// answer returns the answer to a question; nil: there is none, or not all of it.
func (s *session) answer(id uint64) *forwardingv1.Answer {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ledger.answered[id] {
		return nil
	}

	return s.ledger.answers[id]
}

func TestQuestionWaitsForItsTable(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA].last()
		release := make(chan struct{})
		w.host.apply = func(Table) { <-release }
		question := &forwardingv1.Question{Id: 1, ChannelId: "sora", Instance: 1, Version: 7,
			Wait: durationpb.New(5 * time.Second)}
		a.ask(t, question)
		if a.answer(1) != nil {
			t.Error("answered before any table")
		}
		a.sendTable(t, table(7, "u1"))
		if a.answer(1) != nil {
			t.Error("answered before the table is enforced")
		}
		close(release)
		if answer := a.answer(1); answer.GetError() != "" || answer.GetCount() != 1 {
			t.Errorf("the answer is %v", answer)
		}
		// An empty difference tells that nothing changed up to a version.
		again := &forwardingv1.Question{Id: 2, ChannelId: "sora", Instance: 1, Version: 9,
			Wait: durationpb.New(5 * time.Second)}
		a.ask(t, again)
		if a.answer(2) != nil {
			t.Error("answered at an older table")
		}
		w.replicas[replicaB].last().sendTable(t, table(9, "u1"))
		if answer := a.answer(2); answer == nil || answer.GetError() != "" {
			t.Errorf("the answer at the version of another replica's table is %v", answer)
		}
		a.sendTable(t, difference(7, 12))
		a.ask(t, &forwardingv1.Question{Id: 3, ChannelId: "sora", Instance: 1, Version: 12,
			Wait: durationpb.New(time.Second)})
		if answer := a.answer(3); answer == nil || answer.GetError() != "" {
			t.Errorf("the answer at the version of an empty difference is %v", answer)
		}
		expectTables(t, w, "7 whole u1")
	})
}

func TestQuestionFailsWhenItsTableTakesTooLong(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA].last()
		a.sendTable(t, table(7, "u1"))
		synctest.Wait()
		for id, question := range []*forwardingv1.Question{
			{ChannelId: "sora", Instance: 1, Version: 8},
			{ChannelId: "sora", Instance: 2, Version: 7},
			{ChannelId: "nowhere", Instance: 1, Version: 7},
		} {
			question.Id, question.Wait = uint64(id), durationpb.New(3*time.Second)
			a.ask(t, question)
			time.Sleep(3*time.Second - time.Millisecond)
			if a.answer(question.GetId()) != nil {
				t.Errorf("question %d is answered before its wait has ended", id)
			}
			time.Sleep(time.Millisecond)
			if answer := a.answer(question.GetId()); !strings.Contains(answer.GetError(),
				fmt.Sprint("version ", question.GetVersion())) {
				t.Errorf("question %d is answered %v, want an error", id, answer)
			}
			a.sendVersion(t, 7, false)
		}
	})
}

// After a restored backup the table held is of a higher version, and of no more worth.
func TestQuestionIsNotAnsweredFromAnotherHistory(t *testing.T) {
	inWorld(t, []string{replicaA, replicaB}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA].last()
		a.sendTable(t, table(100, "u1"))
		synctest.Wait()
		a.sendTable(t, removing(difference(100, 50, "u0"), "u1"))
		a.ask(t, &forwardingv1.Question{Id: 1, ChannelId: "sora", Instance: 1, Version: 50,
			Wait: durationpb.New(30 * time.Second)})
		if answer := a.answer(1); answer != nil {
			t.Errorf("answered %v while the table of the history before is held", answer)
		}
		for range 3 {
			time.Sleep(4 * time.Second)
			a.sendVersion(t, 50, false)
		}
		expectTables(t, w, "100 whole u1", "50 u0 -u1")
		if answer := a.answer(1); answer == nil || answer.GetError() != "" {
			t.Errorf("the answer after the adoption is %v", answer)
		}
	})
}

// A Host that is slow to answer delays neither tables nor other answers.
func TestSlowQuestionsDelayNothingElse(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		a := w.replicas[replicaA].last()
		synctest.Wait()
		a.said()
		release := make(chan struct{})
		var asked atomic.Int32
		w.host.ask = func(*forwardingv1.Question) *forwardingv1.Answer {
			asked.Add(1)
			<-release

			return &forwardingv1.Answer{Count: 7}
		}
		for id := range uint64(maxQuestions + 5) {
			a.ask(t, &forwardingv1.Question{Id: id, ChannelId: "sora", Instance: 1})
		}
		a.sendTable(t, table(7, "u1"))
		expectTables(t, w, "7 whole u1")
		if n := asked.Load(); n != maxAnswers {
			t.Errorf("%d answers are made at a time, want %d", n, maxAnswers)
		}
		turnedDown := 0
		for id := range uint64(maxQuestions + 5) {
			if answer := a.answer(id); answer.GetError() != "" {
				turnedDown++
			}
		}
		if turnedDown != 5 {
			t.Errorf("%d questions are turned down, want those beyond %d", turnedDown, maxQuestions)
		}
		close(release)
		for id := range uint64(maxQuestions) {
			if answer := a.answer(id); answer.GetCount() != 7 {
				t.Fatalf("question %d is answered %v", id, answer)
			}
		}
	})
}

func TestLongAnswersGoInParts(t *testing.T) {
	inWorld(t, []string{replicaA}, func(t *testing.T, w *world) {
		w.partBytes, w.replicas[replicaA].limit = 300, 300
		a := w.replicas[replicaA].last()
		a.mu.Lock()
		a.ledger.limit = 300
		a.mu.Unlock()
		whole := &forwardingv1.Answer{Count: 101}
		for i := range 100 {
			whole.Edges = append(whole.Edges, &forwardingv1.Edge{RecvConnectionId: fmt.Sprint("receiver-", i),
				SendConnectionId: "sender", PauseUids: []string{"u1"}})
			whole.Pauses = append(whole.Pauses, &forwardingv1.PauseCount{Uid: fmt.Sprint("u", i), Edges: 3})
		}
		for i := range 30 {
			r := &forwardingv1.ReceiverEdges{
				RecvConnectionId: fmt.Sprint("receiver-", i), RecvRole: forwardingv1.Role_ROLE_RECVONLY,
			}
			for j := range i * i {
				r.SendConnectionIds = append(r.SendConnectionIds, fmt.Sprint("sender-", j))
			}
			if i > 0 {
				whole.Receivers = append(whole.Receivers, r)
			}
		}
		kept := proto.CloneOf(whole)
		w.host.ask = func(*forwardingv1.Question) *forwardingv1.Answer { return whole }
		a.ask(t, &forwardingv1.Question{Id: 5, ChannelId: "sora", Instance: 1})
		got := a.answer(5)
		want := proto.CloneOf(kept)
		want.QuestionId = 5
		if !proto.Equal(got, want) {
			t.Errorf("the parts make %d edges, %d pauses, count %d", len(got.GetEdges()), len(got.GetPauses()), got.GetCount())
		}
		if !proto.Equal(whole, kept) {
			t.Error("the Host's answer was changed")
		}
	})
}
