package rtc

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pion/ice/v4"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

const (
	// descriptionBytes and timesOffer are the longest answer that is looked at: so many bytes, and so many times the
	// offer. An answer has the offer's m-lines and formats, so it is about as long; clients add their candidates, some
	// to each m-line.
	descriptionBytes  = 256 << 10
	timesOffer        = 4
	maxCandidateBytes = 1 << 10
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
	p.ensureTransport()
	description, err := p.describe()
	if err != nil {
		return "", fmt.Errorf("write the offer: %w", err)
	}
	p.longestAnswer.Store(int64(descriptionBytes + timesOffer*len(description)))
	p.offered, p.outstanding, p.different = true, true, false
	p.linesOffered()

	return description, nil
}

// Answer applies the client's answer to the latest offer. After ErrInvalidAnswer the peer has to be closed.
func (p *Peer) Answer(description string) error {
	if most := max(descriptionBytes, p.longestAnswer.Load()); int64(len(description)) > most {
		return fmt.Errorf("answer of %d bytes: %w; %d are allowed, %d and %d times the offer",
			len(description), ErrDescriptionTooLarge, most, descriptionBytes, timesOffer)
	}
	accepted, err := p.apply(description)
	if err != nil {
		return err
	}
	for downlink, types := range accepted {
		downlink.negotiate(types)
	}

	return nil
}

func (p *Peer) apply(description string) (map[*Downlink]agreed, error) {
	p.negotiation.Lock()
	defer p.negotiation.Unlock()
	switch {
	case p.isClosing():
		return nil, fmt.Errorf("answer: %w", ErrClosed)
	case !p.outstanding:
		return nil, ErrNoOffer
	}
	read, err := p.readAnswer(description)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidAnswer, err)
	}
	p.outstanding = false
	p.expectStreams(read.media)
	if !p.answered {
		p.answered = true
		p.secureWith(read)
	}

	return p.linesAnswered(read.media), nil
}

// expectStreams notes what the client sends from now on.
func (p *Peer) expectStreams(answered []answeredMedia) {
	var sends []media.Kind
	var streams []inboundStream
	for i, u := range p.uplinks() { // Not under the lock, on which readers wait.
		switch {
		case answered[i].rejected:
			p.log.Info("a client rejects the m-line that it is to send on", "mid", u.mid, "format", u.config.Format.String())
		case answered[i].sends && answered[i].ssrc == 0 && !u.hasSimulcast(answered[i]):
			p.log.Info("a client sends without a=ssrc in its answer; its media is dropped", "mid", u.mid)
		}
	}
	p.inbound.mu.Lock()
	for i, u := range p.uplinks() {
		answer := answered[i]
		simulcast := u.hasSimulcast(answer)
		if !answer.sends || answer.ssrc == 0 && !simulcast {
			continue
		}
		sends = append(sends, u.kind())
		u.transportCC, u.ids = answer.transportCC, identifiers{}
		u.expectLevels(answer.levels)
		types := p.formats.payloadTypes(u.config.Format) // An answerer sends what it was offered, by the offer's names.
		if simulcast {
			u.ids = answer.ids
			streams = append(streams, u.expectLayers(answer.rids, types)...)

			continue
		}
		u.layers[0].restart(answer.ssrc)
		streams = append(streams, inboundStream{ssrc: answer.ssrc, payloadType: types.media, uplink: u})
		if answer.rtx != 0 {
			again := inboundStream{ssrc: answer.rtx, payloadType: types.rtx, uplink: u, retransmissions: true}
			streams = append(streams, again)
		}
	}
	for i := range streams {
		_, streams[i].authenticated = p.inbound.authenticated[streams[i].ssrc]
	}
	p.inbound.streams = streams
	p.inbound.mu.Unlock()
	p.sends.Store(&sends)
}

// UplinkMIDs are the mids of the uplinks' m-lines, empty where there is none.
func (p *Peer) UplinkMIDs() (audio, video string) {
	if p.audio != nil {
		audio = p.audio.mid
	}
	if p.video != nil {
		video = p.video.mid
	}

	return audio, video
}

// Sends are the kinds that the client's last answer says it sends, audio before video. The SDP is asked, not
// RTP: a receiver would otherwise learn of a stream only after its first packets are gone. A kind without a=ssrc
// (RFC 5576) and without simulcast is not among them: nothing tells its packets apart.
func (p *Peer) Sends() []media.Kind {
	if sends := p.sends.Load(); sends != nil {
		return append([]media.Kind(nil), *sends...)
	}

	return nil
}

// Rejected are the video formats that the client's answers so far have rejected wherever they were offered to be sent
// to it. A stream of one is not offered again.
func (p *Peer) Rejected() []codecs.Format {
	p.negotiation.Lock()
	defer p.negotiation.Unlock()

	return slices.Clone(p.formats.rejected)
}

// Refused are the streams that the client's last answer does not receive, and the one before did, or did not know: it
// rejects their m-lines, or gives these another direction. On one that no answer has received yet nothing leaves; what
// was received before is the caller's to withhold.
func (p *Peer) Refused() []*Downlink {
	p.negotiation.Lock()
	defer p.negotiation.Unlock()

	return slices.Clone(p.refused)
}

// ReceivedAgain are the streams that the client's last answer receives, and the one before refused.
func (p *Peer) ReceivedAgain() []*Downlink {
	p.negotiation.Lock()
	defer p.negotiation.Unlock()

	return slices.Clone(p.again)
}

// AddCandidate takes one of the client's ICE candidates and checks its form. It need not be remembered: checks of
// ours go only where one of the client's has come from. An empty candidate means that there are no more.
func (p *Peer) AddCandidate(candidate string, _ *string, _ *uint16) error {
	value := strings.TrimPrefix(candidate, "candidate:")
	switch {
	case p.isClosing():
		return fmt.Errorf("candidate: %w", ErrClosed)
	case value == "":
		return nil
	case len(candidate) > maxCandidateBytes:
		return fmt.Errorf("%w: %d bytes", ErrInvalidCandidate, len(candidate))
	}
	// Those of types and networks that Pion does not know pass: a client may well have them.
	_, err := ice.UnmarshalCandidate(value)
	if err != nil && !errors.Is(err, ice.ErrUnknownCandidateTyp) && !errors.Is(err, ice.ErrDetermineNetworkType) {
		return fmt.Errorf("%w: %w", ErrInvalidCandidate, err)
	}

	return nil
}
