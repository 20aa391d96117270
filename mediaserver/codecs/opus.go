package codecs

import (
	"fmt"
	"strings"
)

// OpusParameters are what a client wants of Opus (RFC 7587 section 6.1). In SDP it has no effect on what others
// are sent: what one sends is forwarded as it is.
type OpusParameters struct {
	// Stereo asks the client to send two channels; else it mixes them into one. A browser spends 64 kbit/s on the two
	// instead of 32 on the one when nothing names a rate, whatever comes out of the microphone.
	Stereo bool
	// SpropStereo tells the client that it is likely to be sent two channels.
	SpropStereo bool
	// InbandFEC asks for what makes up for a lost packet in the next one.
	InbandFEC bool
	// DTX asks for no packets, but a few, while there is silence.
	DTX bool
	// MinPTime and PTime are the shortest and the wanted duration of a packet in milliseconds, MaxPlaybackRate is in
	// Hz; 0: the client's own choice.
	MinPTime, PTime, MaxPlaybackRate int
	// MaxAverageBitRate is what the client is to spend, in bit/s; 0: its own choice.
	MaxAverageBitRate int
}

// FMTP is the value of a=fmtp; sends: the client sends on the line. Those that clients may take for granted are
// there all the same where it matters to clients: sora-js-sdk puts stereo into its answers where it sees minptime.
func (o OpusParameters) FMTP(sends bool) string {
	var parameters []string
	number := func(name string, value int) {
		if value > 0 {
			parameters = append(parameters, fmt.Sprintf("%s=%d", name, value))
		}
	}
	flag := func(name string, value bool) {
		parameters = append(parameters, name+"="+map[bool]string{true: "1", false: "0"}[value])
	}
	number("minptime", o.MinPTime)
	flag("useinbandfec", o.InbandFEC)
	flag("stereo", o.Stereo)
	flag("sprop-stereo", o.SpropStereo)
	if o.DTX {
		flag("usedtx", true)
	}
	number("maxplaybackrate", o.MaxPlaybackRate)
	if sends {
		number("maxaveragebitrate", o.MaxAverageBitRate)
	}

	return strings.Join(parameters, ";")
}
