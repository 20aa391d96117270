package bot

import (
	"cmp"
	"encoding/binary"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtp"
	pion "github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// Kind is a kind of media, in the spelling of SDP.
type Kind string

// The kinds of media.
const (
	Audio Kind = "audio"
	Video Kind = "video"
)

// Packet is one RTP packet that arrived. Header and Payload are valid only
// during the call that hands it over.
type Packet struct {
	// SenderConnectionID is the connection that published it: the id of the
	// MediaStream.
	SenderConnectionID string
	Kind               Kind
	// Arrived is when it was read from the peer connection.
	Arrived time.Time
	Header  *rtp.Header
	Payload []byte
	// KeyframeStart: it is the first packet of a keyframe.
	KeyframeStart bool
	// Width is that of a VP8 keyframe that begins with the packet, else 0.
	Width int
}

// Stream is what has arrived of one kind from one sender.
type Stream struct {
	SenderConnectionID string
	Kind               Kind
	SSRC               uint32
	// Packets and Bytes (of payload) count every arrival, retransmissions too.
	Packets, Bytes uint64
	// Frames counts timestamps that went beyond all earlier ones; Keyframes
	// counts the first packets of keyframes.
	Frames, Keyframes uint64
	// Width is that of the last VP8 keyframe; 0: none came.
	Width int
	// LastSequenceNumber is the highest that arrived; meaningless without packets.
	LastSequenceNumber uint16
	// LastArrival is when the last packet arrived; zero without packets.
	LastArrival time.Time
	// Paused: the server said last that this stream is paused.
	Paused bool
	// Gone: the server said that the sender has left.
	Gone bool

	timestamp uint32 // The highest that arrived.
}

type streamKey struct {
	sender string
	kind   Kind
}

// streams counts what arrives.
type streams struct {
	observer func(Packet)

	mu      sync.Mutex
	byKey   map[streamKey]*Stream
	closed  bool
	readers sync.WaitGroup
}

func newStreams(observer func(Packet)) *streams {
	return &streams{observer: observer, byKey: map[streamKey]*Stream{}}
}

// receive reads a track until it ends. It is called on a goroutine that pion
// starts.
func (s *streams) receive(track *webrtc.TrackRemote) {
	key := streamKey{track.StreamID(), Kind(track.Kind().String())}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()

		return
	}
	s.readers.Add(1)
	defer s.readers.Done()
	if s.byKey[key] == nil {
		s.byKey[key] = &Stream{SenderConnectionID: key.sender, Kind: key.kind}
	}
	s.byKey[key].SSRC = uint32(track.SSRC())
	s.mu.Unlock()

	buffer := make([]byte, 1<<16)
	header := &rtp.Header{}
	for {
		n, _, err := track.Read(buffer)
		if err != nil {
			return
		}
		size, err := header.Unmarshal(buffer[:n])
		if err != nil {
			continue
		}
		// By pion's account, which is right from the first packet on.
		codec, _ := codecs.Parse(strings.ToUpper(path.Base(track.Codec().MimeType)))
		s.take(key, codec, header, payloadOf(header, buffer[size:n]))
	}
}

// payloadOf cuts the padding off.
func payloadOf(header *rtp.Header, rest []byte) []byte {
	if !header.Padding || len(rest) == 0 {
		return rest
	}

	return rest[:max(len(rest)-int(rest[len(rest)-1]), 0)]
}

func (s *streams) take(key streamKey, codec codecs.Codec, header *rtp.Header, payload []byte) {
	packet := Packet{
		SenderConnectionID: key.sender, Kind: key.kind, Arrived: time.Now(),
		Header: header, Payload: payload,
		KeyframeStart: key.kind == Video && codec.Inspect(payload).KeyframeStart,
	}
	if packet.KeyframeStart && codec == codecs.VP8 {
		packet.Width = widthOf(payload)
	}
	s.mu.Lock()
	s.byKey[key].count(packet)
	s.mu.Unlock()
	if s.observer != nil {
		s.observer(packet)
	}
}

// widthOf reads the frame header behind the payload descriptor (RFC 6386 section 9.1).
func widthOf(payload []byte) int {
	frame, err := (&pion.VP8Packet{}).Unmarshal(payload)
	if err != nil || len(frame) < 8 {
		return 0
	}

	return int(binary.LittleEndian.Uint16(frame[6:]) & 0x3fff)
}

func (s *Stream) count(p Packet) {
	first := s.Packets == 0
	s.Packets++
	s.Bytes += uint64(len(p.Payload))
	s.LastArrival = p.Arrived
	if p.KeyframeStart {
		s.Keyframes++
		s.Width = p.Width
	}
	if first || int32(p.Header.Timestamp-s.timestamp) > 0 {
		s.timestamp = p.Header.Timestamp
		s.Frames++
	}
	if first || int16(p.Header.SequenceNumber-s.LastSequenceNumber) > 0 {
		s.LastSequenceNumber = p.Header.SequenceNumber
	}
}

func (s *streams) snapshot() []Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Stream, 0, len(s.byKey))
	for _, stream := range s.byKey {
		all = append(all, *stream)
	}
	slices.SortFunc(all, func(a, b Stream) int {
		return cmp.Or(cmp.Compare(a.SenderConnectionID, b.SenderConnectionID), cmp.Compare(a.Kind, b.Kind))
	})

	return all
}

// wait returns when no track is read any longer. The peer connection must have
// been closed.
func (s *streams) wait() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.readers.Wait()
}
