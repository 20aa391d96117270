package rtc

import "github.com/pion/sdp/v3"

// audioLevel is a byte that a client sends with each packet of audio (RFC 6464 section 3): whether it takes it for
// speech, and how loud it is.
var audioLevel = extension{1, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"}

// describeLevels asks for audio levels on an m-line on which the client sends.
func (u *uplink) describeLevels(section *sdp.MediaDescription) {
	if u.config.Levels {
		audioLevel.describe(section)
	}
}

// expectLevels notes by which identifier the client sends them. What was not asked for is not looked at.
func (u *uplink) expectLevels(id uint8) {
	u.levels = 0
	if u.config.Levels {
		u.levels = id
	}
}

// levelOf is the level that a packet has, in dB below overload. What the client takes for speech is left to whoever
// compares it with others.
func (u *uplink) levelOf(packet []byte) (level uint8, ok bool) {
	if u.levels == 0 {
		return 0, false
	}
	value := extensionsOf(packet).find(u.levels)
	if len(value) == 0 {
		return 0, false
	}

	return value[0] & 0x7f, true
}
