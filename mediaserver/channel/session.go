package channel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// session is what signalling does for one member.
type session struct {
	registry *Registry
	channel  *channel
	member   *member
	log      *slog.Logger
	leave    sync.Once
}

var _ signaling.Session = (*session)(nil)

// Offer makes the first offer. Everybody who sends already is in it.
func (s *session) Offer(context.Context) (signaling.Offer, error) {
	sdp, err := s.member.peer.Offer()
	if err != nil {
		return signaling.Offer{}, fmt.Errorf("making the offer: %w", err)
	}
	audioMID, videoMID := s.member.peer.UplinkMIDs()

	return signaling.Offer{
		SDP:          sdp,
		ChannelID:    s.channel.id,
		ConnectionID: s.member.id(),
		ClientID:     s.member.connection.GetClientId(),
		BundleID:     s.member.connection.GetBundleId(),
		SessionID:    s.member.connection.GetSessionId(),
		AudioMID:     audioMID,
		VideoMID:     videoMID,
	}, nil
}

// Reoffer makes a later offer, with the streams as they are now. One that was made in
// the midst of a step, as each of its streams asks for one, would have a part of them,
// and another offer would have to follow.
func (s *session) Reoffer(context.Context) (string, error) {
	s.channel.finishStep()
	sdp, err := s.member.peer.Offer()
	if err != nil {
		return "", fmt.Errorf("making a re-offer: %w", err)
	}

	return sdp, nil
}

// Answer takes the client's answer to the latest offer and announces what it
// sends: from the SDP, not from the first packet, since a first packet may come
// late. Codecs that it rejects are not offered to it again.
func (s *session) Answer(_ context.Context, sdp string) error {
	if err := s.member.peer.Answer(sdp); err != nil {
		return fmt.Errorf("applying the answer: %w", err)
	}

	s.channel.mu.Lock()
	defer s.channel.mu.Unlock()

	s.channel.announce(s.member, s.member.peer.Sends())
	s.channel.reject(s.member, s.member.peer.Rejected())
	s.channel.refuse(s.member, s.member.peer.Refused(), s.member.peer.ReceivedAgain())

	return nil
}

// Candidate takes one of the client's ICE candidates.
func (s *session) Candidate(candidate string, sdpMid *string, sdpMLineIndex *uint16) error {
	return s.member.peer.AddCandidate(candidate, sdpMid, sdpMLineIndex)
}

// Leave takes the member out of its channel and returns when nothing of it is
// left.
func (s *session) Leave(reason string) {
	s.leave.Do(func() {
		s.log.Info("connection left", "connection", s.member.id(), "reason", reason)
		s.channel.mu.Lock()
		s.channel.remove(s.member)
		s.channel.mu.Unlock()

		s.member.close(s.log)
		s.registry.forget(s.channel)
	})
}

// mediaConnected tells everybody in the channel of the new member.
func (s *session) mediaConnected() {
	s.channel.mu.Lock()
	defer s.channel.mu.Unlock()

	s.channel.connected(s.member)
}

// supplyChanged has what the member can be sent divided anew.
func (s *session) supplyChanged() {
	s.channel.mu.Lock()
	defer s.channel.mu.Unlock()

	s.channel.lookAtSupply(s.member)
}

// mediaClosed ends the signalling of a client whose transport is gone, or brings
// nothing that can be used; Leave follows from there.
func (s *session) mediaClosed(err error) {
	s.log.Info("media transport closed", "connection", s.member.id(), "error", err)
	switch {
	case errors.Is(err, rtc.ErrMediaUnanswered):
		s.member.client.Close(signaling.CloseMediaUnanswered())
	case errors.Is(err, rtc.ErrUnreadableMedia):
		s.member.client.Close(signaling.CloseUnreadableMedia())
	default:
		s.member.client.Close(signaling.CloseTransportFailed())
	}
}
