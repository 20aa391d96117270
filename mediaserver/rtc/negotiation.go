package rtc

import (
	"fmt"
	"strings"

	"github.com/pion/ice/v4"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// MaxDescriptionBytes is the longest answer that is looked at: room for some hundred senders.
	MaxDescriptionBytes = 256 << 10
	// maxCandidateBytes and maxCandidates bound what one client can make the server try.
	maxCandidateBytes = 1 << 10
	maxCandidates     = 128
)

// Offer makes the next offer, complete with all candidates: uplinks first, then downlinks. It fails with
// ErrAnswerOutstanding while the one before has no answer.
func (p *Peer) Offer() (string, error) {
	p.negotiation.Lock()
	defer p.negotiation.Unlock()
	switch {
	case p.isClosing():
		return "", fmt.Errorf("offer: %w", ErrClosed)
	case p.outstanding:
		return "", fmt.Errorf("offer: %w; wait for it", ErrAnswerOutstanding)
	}
	if err := p.ensureMedia(); err != nil {
		return "", fmt.Errorf("offer: %w", err)
	}
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return "", fmt.Errorf("create an offer: %w", err)
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return "", fmt.Errorf("apply the offer: %w", err)
	}
	select {
	case <-gathered:
	case <-p.closing:
		return "", fmt.Errorf("offer: %w", ErrClosed)
	}

	p.offer = &sdp.SessionDescription{}
	if err := p.offer.UnmarshalString(p.pc.LocalDescription().SDP); err != nil {
		return "", fmt.Errorf("read the offer: %w", err)
	}
	p.markFreeLines(p.offer)
	description, err := p.offer.Marshal()
	if err != nil {
		return "", fmt.Errorf("write the offer: %w", err)
	}
	p.offered, p.outstanding = true, true
	p.linesOffered()

	return string(description), nil
}

// ensureMedia gives an offer that would have no m-line an unused data channel: without any m-line there is nothing for ICE
// and DTLS to start with, and the client would hang. The channel is negotiated, so the client does not get to see it.
func (p *Peer) ensureMedia() error {
	if p.offered || p.audio != nil || p.video != nil || len(p.lines) > 0 {
		return nil
	}
	negotiated, id := true, uint16(0)
	_, err := p.pc.CreateDataChannel("nagi", &webrtc.DataChannelInit{Negotiated: &negotiated, ID: &id})

	return err
}

// Answer applies the client's answer to the latest offer. After ErrInvalidAnswer the peer has to be closed.
func (p *Peer) Answer(description string) error {
	if len(description) > MaxDescriptionBytes {
		return fmt.Errorf("answer of %d bytes: %w; %d are allowed", len(description), ErrDescriptionTooLarge, MaxDescriptionBytes)
	}
	answer := &sdp.SessionDescription{}
	if err := answer.UnmarshalString(description); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
	}

	p.negotiation.Lock()
	defer p.negotiation.Unlock()
	switch {
	case p.isClosing():
		return fmt.Errorf("answer: %w", ErrClosed)
	case !p.outstanding:
		return ErrNoOffer
	}
	if err := checkAnswer(p.offer, answer); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
	}
	if dropped := dropCandidates(answer); dropped > 0 {
		p.engine.counters.candidates.Add(uint64(dropped))
		usable, err := answer.Marshal()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
		}
		description = string(usable)
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: description}); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
	}
	p.outstanding = false
	p.linesAnswered()
	p.noteSends(answer)
	p.addEarlyCandidates()

	return nil
}

// UplinkMIDs are the mids of the uplinks' m-lines, empty where there is none. They are known from the first offer on.
func (p *Peer) UplinkMIDs() (audio, video string) {
	if p.audio != nil {
		audio = p.audio.transceiver.Mid()
	}
	if p.video != nil {
		video = p.video.transceiver.Mid()
	}

	return audio, video
}

// Sends are the kinds that the client's last answer says it sends, audio before video. The SDP is asked, not RTP: a
// receiver would otherwise learn of a stream only after its first packets are gone. A kind without a=ssrc (RFC 5576) is not
// among them: packets are told apart by it, since no MID extension is offered.
func (p *Peer) Sends() []forwardingv1.Kind {
	if sends := p.sends.Load(); sends != nil {
		return append([]forwardingv1.Kind(nil), *sends...)
	}

	return nil
}

func (p *Peer) noteSends(answer *sdp.SessionDescription) {
	audio, video := p.UplinkMIDs()
	var sends []forwardingv1.Kind
	for _, media := range answer.MediaDescriptions {
		mid, _ := media.Attribute(sdp.AttrKeyMID)
		switch {
		case mid == "" || !sending(answer, media):
		case !declaresSSRC(media):
			p.log.Info("a client sends without a=ssrc in its answer; its media is dropped", "mid", mid)
		case mid == audio:
			sends = append(sends, forwardingv1.Kind_KIND_AUDIO)
		case mid == video:
			sends = append(sends, forwardingv1.Kind_KIND_VIDEO)
		}
	}
	p.sends.Store(&sends)
}

// AddCandidate adds one of the client's ICE candidates, also before Answer. sdpMid and sdpMLineIndex may be missing and
// do not matter, because all media is bundled; an empty candidate means that there are no more.
func (p *Peer) AddCandidate(candidate string, sdpMid *string, sdpMLineIndex *uint16) error {
	if err := checkCandidate(candidate); err != nil {
		return err
	}
	init := webrtc.ICECandidateInit{Candidate: candidate, SDPMid: sdpMid, SDPMLineIndex: sdpMLineIndex}

	p.negotiation.Lock()
	defer p.negotiation.Unlock()
	if p.isClosing() {
		return fmt.Errorf("candidate: %w", ErrClosed)
	}
	if p.candidateN++; p.candidateN > maxCandidates {
		return fmt.Errorf("%w: more than %d", ErrInvalidCandidate, maxCandidates)
	}
	if !p.answered {
		p.candidates = append(p.candidates, init)

		return nil
	}

	return p.addCandidate(init)
}

// addEarlyCandidates adds what came before the first answer. One that cannot be used is no reason to refuse the answer.
func (p *Peer) addEarlyCandidates() {
	p.answered = true
	candidates := p.candidates
	p.candidates = nil
	for _, candidate := range candidates {
		if err := p.addCandidate(candidate); err != nil {
			p.engine.counters.candidates.Add(1)
			p.log.Debug("early candidate dropped", "error", err)
		}
	}
}

func (p *Peer) addCandidate(candidate webrtc.ICECandidateInit) error {
	if err := p.pc.AddICECandidate(candidate); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidCandidate, err)
	}

	return nil
}

// checkCandidate refuses what cannot be parsed. Candidates of kinds and networks that Pion does not know pass, since a
// client may well have them; they are ignored later.
func checkCandidate(candidate string) error {
	value := strings.TrimPrefix(candidate, "candidate:")
	if value == "" {
		return nil
	}
	if len(candidate) > maxCandidateBytes {
		return fmt.Errorf("%w: %d bytes", ErrInvalidCandidate, len(candidate))
	}
	if _, err := ice.UnmarshalCandidate(value); err != nil && !unknownCandidate(err) {
		return fmt.Errorf("%w: %w", ErrInvalidCandidate, err)
	}

	return nil
}
