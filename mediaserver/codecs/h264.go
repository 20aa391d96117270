package codecs

import "encoding/binary"

// startsH264 tells whether a payload (RFC 6184 section 5.2) has a sequence parameter set, alone or in an
// STAP-A. Keyframes start there and not at the IDR slice, which no decoder can use without it: whoever
// starts at a later fragment of the slice sees nothing.
func startsH264(payload []byte) bool {
	const (
		unitType             = 0x1f
		sequenceParameterSet = 7
		stapA                = 24
	)
	if len(payload) < 2 {
		return false
	}
	switch payload[0] & unitType {
	case sequenceParameterSet:
		return true
	case stapA: // Units, each behind its size (section 5.7.1).
		for rest := payload[1:]; len(rest) > 2; {
			size := int(binary.BigEndian.Uint16(rest))
			rest = rest[2:]
			if size == 0 || size > len(rest) {
				return false
			}
			if rest[0]&unitType == sequenceParameterSet {
				return true
			}
			rest = rest[size:]
		}
	}

	return false
}
