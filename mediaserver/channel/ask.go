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
		ch.gather(answer, names, ch.factsUnder(func(pause *forwardingv1.Pause) bool { return pause.GetUid() == uid }))
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
	tell := ch.name
	if !asks.GetNamesOnly() {
		tell = ch.factsUnder(func(pause *forwardingv1.Pause) bool { return pause.PausesKind(asks.GetKind()) })
	}
	ch.gather(answer, names, tell)
}

// gather adds what is told of the edges, without those of which nothing is.
func (ch *channel) gather(
	answer *forwardingv1.Answer, names []matching.Edge, tell func(matching.Edge) *forwardingv1.Edge,
) {
	answer.Edges = make([]*forwardingv1.Edge, 0, len(names))
	for len(names) > 0 {
		now := names[:min(factsAtOnce, len(names))]
		names = names[len(now):]
		ch.mu.Lock()
		for _, e := range now {
			if told := tell(e); told != nil {
				answer.Edges = append(answer.Edges, told)
			} else {
				answer.Count--
			}
		}
		ch.mu.Unlock()
	}
}

// name tells whose edge it is; nil for one that is not live any more.
func (ch *channel) name(e matching.Edge) *forwardingv1.Edge {
	if !ch.matcher.Live(e) {
		return nil
	}

	return &forwardingv1.Edge{
		RecvConnectionId: e.Receiver, SendConnectionId: e.Sender, RecvRole: ch.byID[e.Receiver].connection.GetRole(),
	}
}

// factsUnder tells the facts of edges that a pause in question still matches: what
// is said of an edge is true of one moment.
func (ch *channel) factsUnder(inQuestion func(*forwardingv1.Pause) bool) func(matching.Edge) *forwardingv1.Edge {
	return func(e matching.Edge) *forwardingv1.Edge {
		facts, pauses := ch.facts(e)
		if !slices.ContainsFunc(pauses, inQuestion) {
			return nil
		}
		facts.PauseUids = slices.Clone(facts.GetPauseUids()[:min(len(pauses), forwardingv1.MaxPausesTold)])

		return facts
	}
}
