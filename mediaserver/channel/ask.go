package channel

import (
	"fmt"
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
)

// factsAtOnce is of how many edges the facts are gathered before the channel's
// lock is given to others.
const factsAtOnce = 500

// Ask answers a question about a channel, or does what it asks for, with what is
// so now. A channel that is not hosted has no edges and no connections. The error
// in the answer tells of another instance, or of a question unknown here.
func (r *Registry) Ask(question *forwardingv1.Question) *forwardingv1.Answer {
	answer := &forwardingv1.Answer{QuestionId: question.GetId()}
	ch := r.lock(question.GetChannelId())
	if ch == nil {
		return answer
	}
	if asked := question.GetInstance(); asked != 0 && asked != ch.instance {
		answer.Error = fmt.Sprintf("the channel is instance %d now and the question is about instance %d; ask again",
			ch.instance, asked)
		ch.mu.Unlock()

		return answer
	}

	switch asks := question.GetAsks().(type) {
	case *forwardingv1.Question_Withheld:
		survey := ch.matcher.Survey(asks.Withheld.GetKind())
		ch.mu.Unlock()
		ch.answerWithheld(answer, survey, asks.Withheld)
	case *forwardingv1.Question_Pause:
		uid := asks.Pause.GetUid()
		names, count := ch.matcher.Edges(uid, int(asks.Pause.GetLimit()))
		ch.mu.Unlock()
		answer.Count = count
		ch.gather(answer, names,
			ch.factsUnder(answer, func(pause *forwardingv1.Pause) bool { return pause.GetUid() == uid }))
	case *forwardingv1.Question_Edge:
		names := matching.Edge{Receiver: asks.Edge.GetRecvConnectionId(), Sender: asks.Edge.GetSendConnectionId()}
		if facts, _ := ch.facts(names); facts != nil {
			answer.Edges, answer.Count = []*forwardingv1.Edge{facts}, 1
		}
		ch.mu.Unlock()
	case *forwardingv1.Question_Dismiss:
		members := ch.named(asks.Dismiss)
		answer.Count = uint64(len(members))
		ch.dismiss(members)
		ch.mu.Unlock()
	default:
		ch.mu.Unlock()
		answer.Error = "the question is of a kind that this media server does not know"
	}

	return answer
}

// answerWithheld counts without the lock: that may take a while in a big channel.
func (ch *channel) answerWithheld(
	answer *forwardingv1.Answer, survey *matching.Survey, asks *forwardingv1.WithheldEdges,
) {
	names, count := survey.Withheld(int(asks.GetLimit()))
	if answer.Count = count; count > uint64(len(names)) {
		answer.Pauses = survey.Counts()
	}
	tell := ch.names(answer)
	if !asks.GetByReceiver() {
		answer.Edges = make([]*forwardingv1.Edge, 0, len(names))
		tell = ch.factsUnder(answer, func(pause *forwardingv1.Pause) bool { return pause.PausesKind(asks.GetKind()) })
	}
	ch.gather(answer, names, tell)
}

// gather has each edge told, and does not count those of which nothing is.
func (ch *channel) gather(answer *forwardingv1.Answer, names []matching.Edge, tell func(matching.Edge) bool) {
	for len(names) > 0 {
		now := names[:min(factsAtOnce, len(names))]
		names = names[len(now):]
		ch.mu.Lock()
		for _, e := range now {
			if !tell(e) {
				answer.Count--
			}
		}
		ch.mu.Unlock()
	}
}

// names tells whose edges they are, which come in the order of their receivers;
// nothing of one that is not live any more.
func (ch *channel) names(answer *forwardingv1.Answer) func(matching.Edge) bool {
	last := &forwardingv1.ReceiverEdges{}

	return func(e matching.Edge) bool {
		if !ch.matcher.Live(e) {
			return false
		}
		if last.GetRecvConnectionId() != e.Receiver {
			last = &forwardingv1.ReceiverEdges{
				RecvConnectionId: e.Receiver, RecvRole: ch.byID[e.Receiver].connection.GetRole(),
			}
			answer.Receivers = append(answer.Receivers, last)
		}
		last.SendConnectionIds = append(last.SendConnectionIds, e.Sender)

		return true
	}
}

// factsUnder tells the facts of edges that a pause in question still matches: what
// is said of an edge is true of one moment.
func (ch *channel) factsUnder(
	answer *forwardingv1.Answer, inQuestion func(*forwardingv1.Pause) bool,
) func(matching.Edge) bool {
	return func(e matching.Edge) bool {
		facts, pauses := ch.facts(e)
		if !slices.ContainsFunc(pauses, inQuestion) {
			return false
		}
		facts.PauseUids = slices.Clone(facts.GetPauseUids()[:min(len(pauses), forwardingv1.MaxPausesTold)])
		answer.Edges = append(answer.Edges, facts)

		return true
	}
}
