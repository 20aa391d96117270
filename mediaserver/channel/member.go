package channel

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// member is a connection in its channel. connection, client, peer, created, supply, tracks,
// formats and wants never change; the channel's mutex guards the rest.
type member struct {
	connection *forwardingv1.Connection
	request    signaling.Connect
	client     signaling.Client
	peer       *rtc.Peer
	// created is when the connection was, by a clock that nobody sets.
	created time.Time
	// supply is how much it can be sent.
	supply *supply
	// tracks are what the member's role lets it send, formats what each is in.
	tracks  map[media.Kind]*fanout.Track
	formats map[media.Kind]codecs.Format
	// wants are the kinds that it would receive.
	wants matching.Kinds

	// sends are the kinds that it sends, which its first answer has announced.
	announced bool
	sends     matching.Kinds
	// incoming are its edges by sender, outgoing those by receiver.
	incoming, outgoing map[*member]*edge
	// connected: its media transport is up and everybody has been told.
	connected bool
	// described is what those who come later are told of it.
	described signaling.Encoded
	// listener hears what it says in a spotlight channel, nil: nothing. focused: it is in
	// focus there, and its receivers' video is as they want it then.
	listener *listener
	focused  bool
}

func newMember(request signaling.Connect, client signaling.Client) *member {
	now := time.Now()
	m := &member{
		connection: newConnection(request, now),
		created:    now,
		request:    request,
		client:     client,
		tracks:     make(map[media.Kind]*fanout.Track),
		formats:    make(map[media.Kind]codecs.Format),
		incoming:   make(map[*member]*edge),
		outgoing:   make(map[*member]*edge),
	}
	if request.Audio != nil {
		m.wants |= kindsOf(media.Audio)
	}
	if request.Video != nil {
		m.wants |= kindsOf(media.Video)
	}

	return m
}

func newConnection(request signaling.Connect, now time.Time) *forwardingv1.Connection {
	id := cmp.Or(request.ConnectionID, signaling.NewID())
	c := &forwardingv1.Connection{
		ConnectionId: id,
		ClientId:     request.ClientID,
		BundleId:     request.BundleID,
		SessionId:    signaling.NewID(),
		Role:         request.Role,
		Simulcast:    request.Simulcast,
		CreatedTime:  timestamppb.New(now),
		Spotlight:    request.Spotlight != nil,
	}
	if c.ClientId == "" {
		c.ClientId = id
	}
	if c.BundleId == "" {
		c.BundleId = id
	}
	if request.Audio != nil {
		c.Audio = &forwardingv1.AudioCodec{CodecType: request.Audio.CodecType, BitRate: uint32(request.Audio.BitRate)}
	}
	if request.Video != nil {
		c.Video = &forwardingv1.VideoCodec{CodecType: request.Video.CodecType, BitRate: uint32(request.Video.BitRate)}
	}

	return c
}

func (m *member) id() string { return m.connection.GetConnectionId() }

// edges are all that the member is an end of.
func (m *member) edges() []*edge {
	return slices.AppendSeq(slices.Collect(maps.Values(m.incoming)), maps.Values(m.outgoing))
}

// connect makes the member's tracks and its peer connection, whose events go to
// events.
func (m *member) connect(engine *rtc.Engine, events events, metrics *metrics, log *slog.Logger) error {
	m.supply = &supply{look: events.supplyChanged}
	config := rtc.PeerConfig{
		Reports:             m.supply,
		OnConnected:         events.mediaConnected,
		OnClosed:            events.mediaClosed,
		OnNegotiationNeeded: m.client.Renegotiate,
	}
	if m.request.Audio != nil {
		config.Opus = opusOf(m.request.Audio)
	}
	var err error
	if m.connection.Sends() {
		config.Audio, err = m.uplink(m.request.Audio, engine.Socket(), metrics, log)
		if err != nil {
			return err
		}
		config.Video, err = m.uplink(m.request.Video, engine.Socket(), metrics, log)
		if err != nil {
			return err
		}
	}
	m.peer, err = engine.NewPeer(config)

	return err
}

// opusOf is what a client wants of Opus, in the words of its SDP.
func opusOf(audio *signaling.Media) codecs.OpusParameters {
	wanted := audio.Opus

	return codecs.OpusParameters{
		Stereo: wanted.Stereo, SpropStereo: wanted.SpropStereo, InbandFEC: wanted.UseInbandFEC, DTX: wanted.UseDTX,
		MinPTime: wanted.MinPTime, PTime: wanted.PTime, MaxPlaybackRate: wanted.MaxPlaybackRate,
		MaxAverageBitRate: audio.BitRate * 1000,
	}
}

// events is who hears of a member's transport.
type events interface {
	mediaConnected()
	mediaClosed(error)
	supplyChanged()
}

// uplink makes the track of what the client asked to send of one kind; nil: nothing.
func (m *member) uplink(
	wanted *signaling.Media, socket *udp.Socket, metrics *metrics, log *slog.Logger,
) (*rtc.Uplink, error) {
	if wanted == nil {
		return nil, nil //nolint:nilnil // The kind is off, as rtc.PeerConfig documents.
	}
	codec, ok := codecs.Parse(wanted.CodecType)
	if !ok {
		return nil, fmt.Errorf("codec %q is not forwarded", wanted.CodecType)
	}

	config := fanout.Config{
		Kind: codec.Kind(), Inspect: codec.Inspect, Workers: socket, Counters: metrics.fanout, Log: log,
	}
	if config.Kind == media.Video {
		config.RequestKeyframe = func(layers media.Layers) { m.peer.RequestKeyframe(layers) }
	}
	track := fanout.NewTrack(config)
	format := codec.Format(wanted.Profile)
	m.tracks[config.Kind], m.formats[config.Kind] = track, format

	uplink := &rtc.Uplink{Format: format, MaxBitRate: wanted.BitRate * 1000, Receiver: track}
	if m.request.Simulcast && config.Kind == media.Video {
		uplink.Encodings = m.encodings()
	}
	if m.request.Spotlight != nil && config.Kind == media.Audio {
		m.listener = &listener{Track: track}
		uplink.Levels, uplink.Receiver = true, m.listener
	}

	return uplink, nil
}

// encodings are those that a client with simulcast is to send: all of them, or those that its
// authority has it send.
func (m *member) encodings() []rtc.Encoding {
	encodings := make([]rtc.Encoding, len(signaling.RIDs))
	for i, rid := range signaling.RIDs {
		encodings[i] = rtc.Encoding{RID: rid}
		if decided := m.request.Encodings; decided != nil {
			encodings[i].Paused = !decided[i].Active
		}
	}

	return encodings
}

// close ends the member's transport and streams and waits for them.
func (m *member) close(log *slog.Logger) {
	if m.peer != nil {
		if err := m.peer.Close(); err != nil {
			log.Warn("closing a peer connection", "connection", m.id(), "error", err)
		}
	}
	for _, track := range m.tracks {
		track.Close()
	}
}
