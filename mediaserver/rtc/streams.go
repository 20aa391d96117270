package rtc

import (
	"io"
	"sync"

	"github.com/pion/transport/v5/packetio"
)

const (
	// maxStrangeStreams is how many streams may be open at a time that the server did not make: a client has two uplinks,
	// each with RTP and RTCP, and while it changes an SSRC both old and new ones.
	maxStrangeStreams = 64
	// rtpBufferBytes and rtcpBufferBytes are what may wait for the reader of one stream: a keyframe of some megabits.
	rtpBufferBytes  = 512 << 10
	rtcpBufferBytes = 64 << 10
)

// streams bounds what a client's packets make the server remember. Pion opens a stream with a buffer for every SSRC that an
// authenticated packet names, RTP and RTCP alike, and keeps it, unread, as long as the peer: without a bound, one client
// could take all memory.
type streams struct {
	flooded chan struct{} // capacity 1

	mu      sync.Mutex
	ours    map[uint32]struct{} // SSRCs of downlinks past and present: late feedback about them is no flood
	strange int                 // open buffers of other SSRCs
}

func newStreams() *streams {
	return &streams{flooded: make(chan struct{}, 1), ours: make(map[uint32]struct{})}
}

// expect says that an SSRC is a downlink's.
func (s *streams) expect(ssrc uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ours[ssrc] = struct{}{}
}

// open makes the buffer of a stream; Pion calls it. Beyond the bound it holds nothing, and the peer is told to end.
func (s *streams) open(packetType packetio.BufferPacketType, ssrc uint32) io.ReadWriteCloser {
	b := &buffer{Buffer: packetio.NewBuffer(), streams: s}
	b.SetLimitSize(rtpBufferBytes)
	if packetType == packetio.RTCPBufferPacket {
		b.SetLimitSize(rtcpBufferBytes)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ours := s.ours[ssrc]; ours {
		return b
	}
	b.strange = true
	if s.strange++; s.strange > maxStrangeStreams {
		b.SetLimitSize(1)
		signal(s.flooded)
	}

	return b
}

func (s *streams) closed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strange--
}

// buffer is one stream's packets that wait for their reader.
type buffer struct {
	*packetio.Buffer
	streams *streams
	strange bool
	once    sync.Once
}

// Read is that of io.Reader.
func (b *buffer) Read(packet []byte) (int, error) {
	n, _, err := b.Buffer.Read(packet, nil)

	return n, err
}

// Write is that of io.Writer.
func (b *buffer) Write(packet []byte) (int, error) { return b.Buffer.Write(packet, nil) }

// Close is that of io.Closer.
func (b *buffer) Close() error {
	b.once.Do(func() {
		if b.strange {
			b.streams.closed()
		}
	})

	return b.Buffer.Close()
}
