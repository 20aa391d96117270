package rtc

import (
	"bytes"
	"fmt"
	"time"

	"github.com/pion/rtp"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

const (
	// unreadableTime and unreadablePackets are how long, and for how many packets, nothing of a stream may be opened
	// until its client is dismissed. A few forged packets are no reason; a client whose media is lost for good should
	// connect again.
	unreadableTime    = 5 * time.Second
	unreadablePackets = 10
)

// inboundStream is an SSRC that the client's answer declares, or that its packets do where the answer has encodings.
// It is guarded by inbound.mu.
type inboundStream struct {
	ssrc        uint32 // 0: not known yet
	payloadType uint8  // that the answer has for it
	uplink      *uplink
	layer       media.Layer
	// retransmissions: what comes are packets of the uplink's stream that were asked for again (RFC 4588).
	retransmissions bool

	authenticated bool      // see inbound.authenticated
	failures      int       // packets that could not be opened since the last one that could
	failingSince  time.Time // when the first of them came
}

// reception is that of what the stream's packets are, or repeat.
func (s *inboundStream) reception() *reception { return &s.uplink.layers[s.layer].reception }

// decrypt opens a packet in place, and fails the peer when a stream has long had none that can be opened. It is called
// with inbound.mu held.
func (p *Peer) decrypt(stream *inboundStream, datagram []byte, header *rtp.Header, now time.Time) ([]byte, error) {
	var plain []byte
	var err error
	switch {
	case stream.ssrc != ssrcOfRTP(datagram):
		return p.learn(stream, datagram, header, now)
	case stream.authenticated:
		plain, err = p.inbound.context.DecryptRTP(datagram[:0], datagram, header)
	default:
		plain, err = p.decryptFirst(stream, datagram, header)
	}
	if err != nil {
		p.unreadable(stream, now)

		return nil, err
	}
	stream.failures = 0

	return plain, nil
}

// decryptFirst opens the first packet of a stream. A sender counts the wrap-arounds of its sequence numbers from 0
// (RFC 3711 section 3.3.1) and begins at any number. If what it sends before the first wrap-around is lost, as while a
// path is being found, the count is 1 in the first packet that arrives, and nothing in that packet says so.
func (p *Peer) decryptFirst(stream *inboundStream, datagram []byte, header *rtp.Header) (plain []byte, err error) {
	in := &p.inbound
	sealed := bytes.Clone(datagram) // A failure leaves nothing of what is opened in place.
	for rollOvers := range uint32(2) {
		in.context.SetROC(stream.ssrc, rollOvers)
		if plain, err = in.context.DecryptRTP(datagram[:0], datagram, header); err == nil {
			stream.authenticated = true
			in.authenticated[stream.ssrc] = struct{}{}

			return plain, nil
		}
		copy(datagram, sealed)
	}

	return nil, err
}

// unreadable notes a packet that could not be opened.
func (p *Peer) unreadable(stream *inboundStream, now time.Time) {
	if stream.failures == 0 {
		stream.failingSince = now
	}
	stream.failures++
	lasting := now.Sub(stream.failingSince)
	if stream.failures < unreadablePackets || lasting < unreadableTime {
		return
	}
	p.engine.counters.unreadableStreams.Add(1)
	p.fail(fmt.Errorf("%w: none of %d packets of SSRC %d (%s) in %v", ErrUnreadableMedia,
		stream.failures, stream.ssrc, stream.uplink.kind().String(), lasting.Round(time.Millisecond)))
	stream.failures = 0
}
