// Package media has the words that the rooms of the media path share: what kinds of
// media there are, and what a packet is on its way between two rooms.
package media

// Kind is the kind of media of a stream.
type Kind uint8

// The kinds of media.
const (
	Audio Kind = iota
	Video
)

// Kinds are all of them, in the order of m-lines.
var Kinds = [...]Kind{Audio, Video}

// String is the media of an m-line (RFC 8866 section 5.14).
func (k Kind) String() string {
	if k == Video {
		return "video"
	}

	return "audio"
}

// ClockRate is the RTP clock of the kind in ticks per second: 90 kHz for every
// video format (RFC 3551 section 5), 48 kHz for Opus (RFC 7587 section 4.1).
func (k Kind) ClockRate() uint32 {
	if k == Video {
		return 90_000
	}

	return 48_000
}
