package rtc

import (
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// Uplink is what a client sends of one kind.
type Uplink struct {
	// Format is what the client is to send.
	Format codecs.Format
	// MaxBitRate is what the client may send, in bit/s; 0: its own choice.
	MaxBitRate int
	// Encodings are the sizes in which the client is to send its picture at a time, the smallest first: media.MaxLayers at
	// most; none: it sends one.
	Encodings []Encoding
	// Levels: the client is asked to say of each packet how loud it is.
	Levels   bool
	Receiver UplinkReceiver
}

// UplinkReceiver takes what a client sends of one kind. Its functions are called by readers of the socket: they must
// not wait for anything, and have what they send appended to the batch.
type UplinkReceiver interface {
	// ReceiveRTP gets packets in the order of their arrival; retransmissions (RFC 4588) come as what they repeat. Packets
	// and payloads are valid only during the call.
	ReceiveRTP(batch *udp.Batch, burst []media.Received)
	// ReceiveSenderReport gets the clock pair of each sender report (RFC 3550 section 6.4.1).
	ReceiveSenderReport(batch *udp.Batch, layer media.Layer, ntpTime uint64, rtpTime uint32)
}

// uplink is an m-line on which the client sends.
type uplink struct {
	section
	config Uplink
	mid    string
	layers []layer // guarded by the peer's inbound.mu, as what follows
	// ids are those of packets that tell their encoding; all 0: the client sends one.
	ids identifiers
	// transportCC is the identifier of transport-wide numbers in what the client sends, for feedback on them; 0: there
	// are none.
	transportCC uint8
	// levels is the identifier of audio levels in it; 0: there are none.
	levels uint8
}

func newUplink(config Uplink, mid string) *uplink {
	u := &uplink{config: config, mid: mid, layers: make([]layer, max(1, len(config.Encodings)))}
	for i := range u.layers {
		u.layers[i].clockRate = u.kind().ClockRate()
	}

	return u
}

func (u *uplink) kind() media.Kind { return u.config.Format.Codec.Kind() }

// uplinks are those that the peer has, audio before video.
func (p *Peer) uplinks() []*uplink {
	var uplinks []*uplink
	for _, u := range []*uplink{p.audio, p.video} {
		if u != nil {
			uplinks = append(uplinks, u)
		}
	}

	return uplinks
}
