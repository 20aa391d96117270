package fanout_test

import (
	"slices"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// payloads is a receiver that keeps the low byte of VP8's long picture ids, as they leave.
type payloads struct {
	discard
	numbers []uint16
	ids     []byte
}

func (p *payloads) WriteRTP(_ *udp.Batch, packet *media.Outgoing) error {
	if len(packet.Payload) == 0 {
		return nil
	}
	payload := slices.Clone(packet.Payload)
	packet.Patch.Apply(payload)
	p.numbers, p.ids = append(p.numbers, packet.SequenceNumber), append(p.ids, payload[3])

	return nil
}

func (p *payloads) ResendRTP(batch *udp.Batch, packet *media.Outgoing) error {
	return p.WriteRTP(batch, packet)
}
