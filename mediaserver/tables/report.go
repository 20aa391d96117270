package tables

import (
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// told is what the replica knows of a channel: the bases of the next differences.
type told struct{ instance, epoch, sequence uint64 }

func (st *stream) told(channelID string) told {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	e := st.exchanges[channelID]
	if e == nil {
		return told{}
	}

	return told{e.instance, e.epoch, e.sequence}
}

// sendChanges says what the replica does not know of the channel.
func (st *stream) sendChanges(channelID string) error {
	if st.takeResend(channelID) {
		if err := st.call.Send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Resend{
			Resend: &forwardingv1.Resend{ChannelId: channelID},
		}}); err != nil {
			return err
		}
	}
	// The states first, then the membership, which is then not older than the one
	// that the states were computed for: an acknowledgement must not come before
	// the report of the epoch that it names. The version held before both: it may
	// then be too old for the states, never too new.
	base, held := st.told(channelID), st.heldVersion(channelID)
	states := st.subscriber.host.States(channelID, base.instance, base.sequence)
	if err := st.sendReport(channelID); err != nil {
		return err
	}
	if held.instance == states.Instance && held.version > states.Version {
		// A newer table with the same pauses was not applied again.
		states.Version = held.version
	}
	states, send := st.noteStates(channelID, states)
	if !send {
		return nil
	}
	for _, part := range cutAcknowledgement(st.subscriber.partBytes, channelID, states) {
		if err := st.call.Send(&forwardingv1.SubscribeRequest{
			Message: &forwardingv1.SubscribeRequest_Acknowledgement{Acknowledgement: part},
		}); err != nil {
			return err
		}
	}

	return nil
}

// sendReport says what changed in the channel's membership, if anything.
func (st *stream) sendReport(channelID string) error {
	base := st.told(channelID)
	for _, part := range st.noteMembership(channelID,
		st.subscriber.host.Membership(channelID, base.instance, base.epoch)) {
		if err := st.call.Send(&forwardingv1.SubscribeRequest{
			Message: &forwardingv1.SubscribeRequest_Report{Report: part},
		}); err != nil {
			return err
		}
	}

	return nil
}

// noteMembership returns the report that the membership makes. It runs before the
// sending, because the answer may be faster than the return of Send.
func (st *stream) noteMembership(channelID string, m Membership) []*forwardingv1.ChannelReport {
	s := st.subscriber
	s.mu.Lock()
	defer s.mu.Unlock()
	e := st.exchanges[channelID]
	if m.Instance == 0 || m.Base == 0 && len(m.Joined) == 0 {
		// Not hosted, or about to end: a whole report names somebody.
		return st.noteClosed(channelID, e)
	}
	if e == nil || e.instance != m.Instance {
		// Whatever was stated was for the instance before.
		e = &exchange{instance: m.Instance}
		st.exchanges[channelID] = e
		if !st.complete {
			st.awaited[channelID] = struct{}{}
		}
	}
	switch {
	case !e.refused.IsZero(), m.Epoch == e.epoch:
		return nil
	case m.Base != 0 && m.Base != e.epoch:
		// The replica has asked for everything meanwhile.
		st.mark(channelID)

		return nil
	}
	e.epoch = m.Epoch

	return cutReport(s.partBytes, channelID, m)
}

// noteClosed forgets a channel that is hosted no longer. Subscriber.mu is held.
func (st *stream) noteClosed(channelID string, e *exchange) []*forwardingv1.ChannelReport {
	delete(st.exchanges, channelID)
	delete(st.awaited, channelID)
	st.subscriber.noteReady(st)
	if e == nil {
		return nil
	}

	return []*forwardingv1.ChannelReport{{
		ChannelId: channelID, Instance: e.instance, Epoch: e.epoch + 1, BaseEpoch: e.epoch, Closed: true,
	}}
}

// noteStates returns the acknowledgement that the states make; send is false when
// the replica has it already, or must not have it.
func (st *stream) noteStates(channelID string, states States) (acknowledgement States, send bool) {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	e := st.exchanges[channelID]
	switch {
	case e == nil || states.Instance == 0 || states.Instance != e.instance || !e.refused.IsZero():
		return states, false
	case states.Epoch > e.epoch || !states.Whole && !e.acknowledged:
		// The replica has asked for everything meanwhile.
		st.mark(channelID)

		return states, false
	case e.acknowledged && !e.owed && states.Sequence == e.sequence && states.Epoch == e.acknowledgedEpoch:
		return states, false
	}
	if e.acknowledged && states.Sequence == e.sequence {
		// What a Host says whole, though nothing changed, need not be said.
		states.Whole, states.Set, states.Removed = false, nil, nil
	}
	e.acknowledged, e.owed = true, false
	e.sequence, e.acknowledgedEpoch = states.Sequence, states.Epoch

	return states, true
}

// heldVersion returns the instance and the version of the table that is held.
func (st *stream) heldVersion(channelID string) struct{ instance, version uint64 } {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	var h struct{ instance, version uint64 }
	if c := st.subscriber.channels[channelID]; c != nil && c.held != nil {
		h.instance, h.version = c.held.instance, c.held.version
	}

	return h
}

// takeResend tells whether the replica is to be asked for everything.
func (st *stream) takeResend(channelID string) bool {
	st.subscriber.mu.Lock()
	defer st.subscriber.mu.Unlock()
	e := st.exchanges[channelID]
	if e == nil || !e.resendDue {
		return false
	}
	e.resendDue = false

	return true
}

// forget has everything about the channel be said anew. Subscriber.mu is held.
func (e *exchange) forget() {
	e.epoch = 0
	e.acknowledged, e.sequence, e.acknowledgedEpoch = false, 0, 0
	e.refused = time.Time{}
}

// resend takes the replica's wish to hear everything about a channel again.
func (s *Subscriber) resend(st *stream, resend *forwardingv1.Resend) *malformed {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := st.exchanges[resend.GetChannelId()]
	if e == nil {
		return &malformed{notHosted, "the channel to be said again is not hosted here"}
	}
	s.metrics.resends.WithLabelValues("replica").Inc()
	e.forget()
	st.mark(resend.GetChannelId())

	return nil
}
