package rtc

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
)

// extension is an RTP header extension (RFC 8285), as offers name it. An identifier means the same in all
// bundled m-lines (RFC 9143 section 9). What a client calls it by is read from the client's own description.
type extension struct {
	id  uint8
	uri string
}

var (
	transportWideNumber = extension{3, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"}
	// absoluteSendTime is by what receivers estimate how much they can be sent: with the times at which packets arrive, it
	// tells how a queue grows. It differs each time that a packet is sent, see agreed.
	absoluteSendTime = extension{2, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"}
	// playoutDelay is how long clients are to keep pictures, see playout. It too differs each time.
	playoutDelay = extension{5, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"}
)

// sendTimeBytes is what the one adds to a packet: RFC 8285's header, and one element of four bytes; playoutDelayBytes
// what the other adds to that.
const (
	sendTimeBytes     = 8
	playoutDelayBytes = 4
)

func (e extension) describe(section *sdp.MediaDescription) {
	section.WithValueAttribute("extmap", fmt.Sprintf("%d %s", e.id, e.uri))
}

// sentIn is the identifier that a client sends the extension by on an m-line of its answer; 0: it does not.
func (e extension) sentIn(section *sdp.MediaDescription) uint8 { return e.in(section, "recvonly") }

// receivedIn is the identifier that a client takes the extension by on an m-line of its answer; 0: it does not, or by
// one that has no place in a header of one byte (RFC 8285 section 4.2).
func (e extension) receivedIn(section *sdp.MediaDescription) uint8 {
	if id := e.in(section, "sendonly"); id < 15 {
		return id
	}

	return 0
}

// in is the identifier that an answer has for the extension, unless in the other direction alone.
func (e extension) in(section *sdp.MediaDescription, other string) uint8 {
	for _, attribute := range section.Attributes {
		if attribute.Key != sdp.AttrKeyExtMap {
			continue
		}
		mapping, uri, _ := strings.Cut(attribute.Value, " ")
		uri, _, _ = strings.Cut(uri, " ") // Attributes of the extension may follow.
		number, direction, _ := strings.Cut(mapping, "/")
		id, err := strconv.ParseUint(number, 10, 8)
		if uri == e.uri && err == nil && direction != other && direction != "inactive" {
			return uint8(id)
		}
	}

	return 0
}

// extensions are the header extensions of one packet that are still to be read. What is malformed ends them; what was
// read before is good.
type extensions struct {
	rest []byte
	// long: they have headers of two bytes (RFC 8285 section 4.3), not of one (section 4.2).
	long bool
}

// extensionsOf finds them; there are none where the header says that they reach beyond the packet's end.
func extensionsOf(packet []byte) extensions {
	if packet[0]&0x10 == 0 {
		return extensions{}
	}
	start := rtpHeaderBytes + 4*int(packet[0]&0x0f)
	if len(packet) < start+4 {
		return extensions{}
	}
	profile, words := binary.BigEndian.Uint16(packet[start:]), int(binary.BigEndian.Uint16(packet[start+2:]))
	rest := packet[start+4:]
	switch {
	case len(rest) < 4*words:
	case profile == 0xbede:
		return extensions{rest: rest[:4*words]}
	case profile&0xfff0 == 0x1000: // The last bits are the application's.
		return extensions{rest: rest[:4*words], long: true}
	}

	return extensions{}
}

// next reads one; false: there is none left.
func (e *extensions) next() (id uint8, value []byte, ok bool) {
	for len(e.rest) > 0 && e.rest[0] == 0 { // Padding.
		e.rest = e.rest[1:]
	}
	rest := e.rest
	e.rest = nil
	var start, size int
	switch {
	case e.long && len(rest) > 1:
		id, start, size = rest[0], 2, int(rest[1])
	case !e.long && len(rest) > 0:
		id, start, size = rest[0]>>4, 1, int(rest[0]&0x0f)+1
		if id == 0 || id == 15 { // Reserved: what follows is not to be read.
			return 0, nil, false
		}
	default:
		return 0, nil, false
	}
	if len(rest) < start+size {
		return 0, nil, false
	}
	e.rest = rest[start+size:]

	return id, rest[start : start+size], true
}

// find reads on to the extension of an identifier; nil: there is none.
func (e extensions) find(wanted uint8) []byte {
	for {
		id, value, ok := e.next()
		if !ok || id == wanted {
			return value
		}
	}
}
