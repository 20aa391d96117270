package tables

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// ledger folds what a replica was told on one stream, and notes what the protocol
// forbids.
type ledger struct {
	// limit bounds the messages; an entry that is larger goes alone.
	limit    int
	greeted  bool
	complete bool
	channels map[string]*entry
	answers  map[uint64]*forwardingv1.Answer
	answered map[uint64]bool
	problems []string
	// verify, if set, checks each acknowledgement that is all there.
	verify func(channelID string, e *entry)
}

// entry is what a replica knows of one channel.
type entry struct {
	instance, epoch uint64
	members         map[string]*forwardingv1.Connection
	// report is the header of the report of which parts are to come; nil: none.
	report *forwardingv1.ChannelReport
	// acknowledged tells that the states are known.
	acknowledged      bool
	acknowledgedEpoch uint64
	version           uint64
	states            map[string]*forwardingv1.PauseState
	acknowledgement   *forwardingv1.Acknowledgement
}

func newLedger(limit int) *ledger {
	return &ledger{
		limit: limit, channels: make(map[string]*entry),
		answers: make(map[uint64]*forwardingv1.Answer), answered: make(map[uint64]bool),
	}
}

func (l *ledger) problem(format string, arguments ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, arguments...))
}

func (l *ledger) fold(request *forwardingv1.SubscribeRequest) {
	if request.GetHello() == nil && !l.greeted {
		l.problem("the first message is no hello but %v", request)
	}
	entries := 0
	switch message := request.GetMessage().(type) {
	case *forwardingv1.SubscribeRequest_Hello:
		l.greeted = true
	case *forwardingv1.SubscribeRequest_Complete:
		l.complete = true
	case *forwardingv1.SubscribeRequest_Report:
		entries = len(message.Report.GetJoined()) + len(message.Report.GetLeft())
		l.report(message.Report)
	case *forwardingv1.SubscribeRequest_Acknowledgement:
		entries = len(message.Acknowledgement.GetSet()) + len(message.Acknowledgement.GetRemoved())
		l.acknowledge(message.Acknowledgement)
	case *forwardingv1.SubscribeRequest_Answer:
		entries = len(message.Answer.GetEdges()) + len(message.Answer.GetPauses())
		for _, r := range message.Answer.GetReceivers() {
			entries += len(r.GetSendConnectionIds())
		}
		l.answer(message.Answer)
	}
	if size := proto.Size(request); size > l.limit && entries != 1 {
		l.problem("a message of %d entries has %d bytes, more than %d", entries, size, l.limit)
	}
}

func (l *ledger) report(r *forwardingv1.ChannelReport) {
	id := r.GetChannelId()
	e := l.channels[id]
	if r.GetClosed() {
		if e == nil || e.instance != r.GetInstance() {
			l.problem("%s: instance %d is closed, which was not reported", id, r.GetInstance())
		}
		delete(l.channels, id)

		return
	}
	if e == nil || e.instance != r.GetInstance() {
		if r.GetBaseEpoch() != 0 {
			l.problem("%s: the first report of instance %d is a difference", id, r.GetInstance())
		}
		if e != nil && e.instance > r.GetInstance() {
			l.problem("%s: instance %d after instance %d", id, r.GetInstance(), e.instance)
		}
		e = &entry{instance: r.GetInstance()}
		l.channels[id] = e
	}
	if e.report == nil {
		switch {
		case r.GetBaseEpoch() == 0:
			e.members = make(map[string]*forwardingv1.Connection)
		case r.GetBaseEpoch() != e.epoch:
			l.problem("%s: a difference to epoch %d, held is %d", id, r.GetBaseEpoch(), e.epoch)
		}
	} else if e.report.GetEpoch() != r.GetEpoch() || e.report.GetBaseEpoch() != r.GetBaseEpoch() {
		l.problem("%s: parts of two reports are mixed", id)
	}
	for _, left := range r.GetLeft() {
		if e.members[left] == nil {
			l.problem("%s: %s left and was not there", id, left)
		}
		delete(e.members, left)
	}
	for _, connection := range r.GetJoined() {
		e.members[connection.GetConnectionId()] = connection
	}
	if e.report = r; !r.GetMore() {
		e.report, e.epoch = nil, r.GetEpoch()
	}
}

func (l *ledger) acknowledge(a *forwardingv1.Acknowledgement) {
	id := a.GetChannelId()
	e := l.channels[id]
	if e == nil || e.instance != a.GetInstance() {
		l.problem("%s: instance %d is acknowledged, which was not reported", id, a.GetInstance())

		return
	}
	if a.GetEpoch() > e.epoch || e.report != nil {
		l.problem("%s: epoch %d is acknowledged before it was reported", id, a.GetEpoch())
	}
	if a.GetEpoch() < e.acknowledgedEpoch {
		l.problem("%s: epoch %d is acknowledged after epoch %d", id, a.GetEpoch(), e.acknowledgedEpoch)
	}
	if e.acknowledgement == nil {
		if a.GetWhole() {
			e.states = make(map[string]*forwardingv1.PauseState)
		} else if !e.acknowledged {
			l.problem("%s: the first acknowledgement is a difference", id)
			e.states = make(map[string]*forwardingv1.PauseState)
		}
	} else if e.acknowledgement.GetEpoch() != a.GetEpoch() || e.acknowledgement.GetWhole() != a.GetWhole() {
		l.problem("%s: parts of two acknowledgements are mixed", id)
	}
	for _, uid := range a.GetRemoved() {
		delete(e.states, uid)
	}
	for _, state := range a.GetSet() {
		e.states[state.GetUid()] = state
	}
	if e.acknowledgement = a; !a.GetMore() {
		e.acknowledgement, e.acknowledged = nil, true
		e.acknowledgedEpoch, e.version = a.GetEpoch(), a.GetVersion()
		if l.verify != nil {
			l.verify(id, e)
		}
	}
}

func (l *ledger) answer(a *forwardingv1.Answer) {
	id := a.GetQuestionId()
	if l.answered[id] {
		l.problem("question %d is answered twice", id)
	}
	whole := l.answers[id]
	if whole == nil {
		whole = &forwardingv1.Answer{QuestionId: id}
		l.answers[id] = whole
	}
	whole.Edges = append(whole.Edges, a.GetEdges()...)
	for _, r := range a.GetReceivers() {
		if n := len(whole.GetReceivers()); n > 0 && whole.Receivers[n-1].GetRecvConnectionId() == r.GetRecvConnectionId() {
			before := whole.Receivers[n-1]
			before.SendConnectionIds = append(before.SendConnectionIds, r.GetSendConnectionIds()...)
		} else {
			whole.Receivers = append(whole.Receivers, proto.CloneOf(r))
		}
	}
	whole.Pauses = append(whole.Pauses, a.GetPauses()...)
	whole.Count += a.GetCount()
	whole.Error = a.GetError()
	l.answered[id] = !a.GetMore()
}
