package rtc

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"github.com/pion/sdp/v3"
)

// answer is what the server needs to know of a client's answer.
type answer struct {
	// ufrag and password are what the checks of ours that the client gets are made with.
	ufrag, password string
	passive         bool // the client waits for the server's ClientHello (RFC 8842)
	fingerprints    []certificateFingerprint
	media           []answeredMedia // in the offer's order
}

// certificateFingerprint vouches for the client's DTLS certificate (RFC 8122).
type certificateFingerprint struct {
	hash  crypto.Hash
	value string
}

// answeredMedia is one m-line.
type answeredMedia struct {
	// rejected: the client has no use for the m-line. One without the format that it was offered for is worth no more.
	rejected        bool
	sends, receives bool
	types           payloadTypes // as the client calls the formats
	// ssrc is of what the client sends, rtx of its retransmissions; 0: not declared.
	ssrc, rtx uint32
	// rids are the encodings that are sent, ids how their packets tell which they are of (RFC 8852).
	rids []string
	ids  identifiers
	// sendTime and delay are those of agreed.
	sendTime, delay uint8
	// transportCC is uplink.transportCC.
	transportCC uint8
	// levels is uplink.levels, if it was offered.
	levels uint8
	// known: the same was answered before, to the same offer of the m-line.
	known bool
}

// maxCredentialBytes of an ICE user name fragment or password (RFC 8839 section 5.4).
const maxCredentialBytes = 256

// maxPayloadTypes there are (RFC 3550 section 5.1).
const maxPayloadTypes = 128

// maxSSRCLines of one m-line: a browser writes four for each SSRC.
const maxSSRCLines = 64

// readTransport reads what holds for all m-lines, wherever it stands.
func (a *answer) readTransport(description *sdp.SessionDescription) error {
	for key, value := range map[string]*string{"ice-ufrag": &a.ufrag, "ice-pwd": &a.password} {
		values := everywhere(description, key)
		if len(values) == 0 {
			return fmt.Errorf("no a=%s", key)
		}
		if *value = values[0]; len(*value) > maxCredentialBytes {
			return fmt.Errorf("a=%s has %d bytes, %d are allowed", key, len(*value), maxCredentialBytes)
		}
	}
	for _, setup := range everywhere(description, "setup") {
		switch setup {
		case "active":
		case "passive":
			a.passive = true
		default:
			return fmt.Errorf("a=setup:%s; answer active or passive", setup)
		}
	}

	return a.readFingerprints(description)
}

func (a *answer) readFingerprints(description *sdp.SessionDescription) error {
	for _, value := range everywhere(description, "fingerprint") {
		name, digest, ok := strings.Cut(value, " ")
		hash, err := fingerprint.HashFromString(name)
		if ok && err == nil {
			a.fingerprints = append(a.fingerprints, certificateFingerprint{hash, digest})
		}
	}
	if len(a.fingerprints) == 0 {
		return errors.New("no a=fingerprint of a known hash; SHA-256 is known to everybody")
	}

	return nil
}

func checkMedia(offered, answered *sdp.MediaDescription) error {
	ssrcs := 0
	for _, attribute := range answered.Attributes {
		if attribute.Key == sdp.AttrKeySSRC || attribute.Key == sdp.AttrKeySSRCGroup {
			ssrcs++
		}
	}
	if ssrcs > maxSSRCLines {
		return fmt.Errorf("%d lines of a=ssrc, %d are allowed", ssrcs, maxSSRCLines)
	}
	if formats := len(answered.MediaName.Formats); formats > maxPayloadTypes {
		return fmt.Errorf("%d formats, there are %d payload types", formats, maxPayloadTypes)
	}
	if answered.MediaName.Media != offered.MediaName.Media {
		return fmt.Errorf("%q answered, %q offered", answered.MediaName.Media, offered.MediaName.Media)
	}
	want, _ := offered.Attribute(sdp.AttrKeyMID)
	got, has := answered.Attribute(sdp.AttrKeyMID)
	rejected := answered.MediaName.Port.Value == 0
	if got != want && (has || !rejected) { // One that is rejected may be bare (RFC 8829 section 5.3.1).
		return fmt.Errorf("mid %q answered, %q offered", got, want)
	}

	return nil
}

// readMedia reads an m-line that fits its offer.
func readMedia(description *sdp.SessionDescription, offered, section *sdp.MediaDescription) answeredMedia {
	read := answeredMedia{types: readPayloadTypes(offered, section)}
	if section.MediaName.Port.Value == 0 || read.types.media == 0 {
		return answeredMedia{rejected: true}
	}
	read.sends, read.receives = directions(description, section)
	read.readSSRCs(section)
	read.rids, read.ids = readRIDs(section)
	read.transportCC = readTransportCC(section, read.types.media)
	read.levels = audioLevel.sentIn(section)
	if read.types.rtx != 0 {
		read.sendTime, read.delay = absoluteSendTime.receivedIn(section), playoutDelay.receivedIn(section)
	}

	return read
}

// readPayloadTypes finds what was offered first, and its retransmissions, among the formats of an answer. They
// should have the offer's payload types (RFC 3264 section 6.1), and may have others; the answer describes them,
// or else the offer.
func readPayloadTypes(offered, answered *sdp.MediaDescription) (types payloadTypes) {
	formats := offered.MediaName.Formats
	if len(formats) == 0 {
		return types
	}
	described := func(key, payloadType string) string {
		return cmp.Or(describedAs(key, payloadType, answered), describedAs(key, payloadType, offered))
	}
	wanted := describedAs("rtpmap", formats[0], offered)
	types.media = findPayloadType(answered, func(payloadType string) bool {
		return strings.EqualFold(described("rtpmap", payloadType), wanted)
	})
	if len(formats) > 1 { // RFC 4588 section 8.6
		apt := "apt=" + strconv.Itoa(int(types.media))
		types.rtx = findPayloadType(answered, func(payloadType string) bool {
			name, _, _ := strings.Cut(described("rtpmap", payloadType), "/")

			parameters := strings.Split(described("fmtp", payloadType), ";")

			return strings.EqualFold(name, "rtx") && slices.Contains(parameters, apt)
		})
	}

	return types
}

// findPayloadType is the first one of an m-line that is it; 0: there is none.
func findPayloadType(section *sdp.MediaDescription, is func(payloadType string) bool) uint8 {
	for _, payloadType := range section.MediaName.Formats {
		if number, err := strconv.ParseUint(payloadType, 10, 7); err == nil && is(payloadType) {
			return uint8(number)
		}
	}

	return 0
}

// describedAs is what an attribute of an m-line says of a payload type; empty: nothing.
func describedAs(key, payloadType string, section *sdp.MediaDescription) string {
	for _, attribute := range section.Attributes {
		if attribute.Key != key {
			continue
		}
		if described, value, ok := strings.Cut(attribute.Value, " "); ok && described == payloadType {
			return strings.TrimSpace(value)
		}
	}

	return ""
}

// readSSRCs takes the SSRC that comes first, and, if that one has another for its retransmissions (RFC 5576
// section 4.2), it too. Numbers that are none declare nothing.
func (m *answeredMedia) readSSRCs(section *sdp.MediaDescription) {
	for _, attribute := range section.Attributes {
		fields := strings.Fields(attribute.Value)
		switch {
		case attribute.Key == sdp.AttrKeySSRC && len(fields) > 0 && m.ssrc == 0:
			m.ssrc = readSSRC(fields[0])
		case attribute.Key == sdp.AttrKeySSRCGroup && len(fields) == 3 && fields[0] == "FID":
			if main, rtx := readSSRC(fields[1]), readSSRC(fields[2]); main != 0 && rtx != 0 && m.rtx == 0 {
				m.ssrc, m.rtx = main, rtx
			}
		}
	}
	if m.types.rtx == 0 {
		m.rtx = 0
	}
}

func readSSRC(text string) uint32 {
	ssrc, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}

	return uint32(ssrc)
}

// directions are what the answerer does on the m-line. A direction holds for all m-lines when it stands at
// session level, and is sendrecv when it stands nowhere (RFC 8866 section 6.7).
func directions(description *sdp.SessionDescription, section *sdp.MediaDescription) (sends, receives bool) {
	for _, attributes := range [][]sdp.Attribute{section.Attributes, description.Attributes} {
		for _, attribute := range attributes {
			switch attribute.Key {
			case sdp.AttrKeySendRecv:
				return true, true
			case sdp.AttrKeySendOnly:
				return true, false
			case sdp.AttrKeyRecvOnly:
				return false, true
			case sdp.AttrKeyInactive:
				return false, false
			}
		}
	}

	return true, true
}

// everywhere is the values that an attribute has, at session level and in m-lines.
func everywhere(description *sdp.SessionDescription, key string) []string {
	var values []string
	for _, attributes := range append([][]sdp.Attribute{description.Attributes}, mediaAttributes(description)...) {
		for _, attribute := range attributes {
			if attribute.Key == key && attribute.Value != "" {
				values = append(values, attribute.Value)
			}
		}
	}

	return values
}

func mediaAttributes(description *sdp.SessionDescription) [][]sdp.Attribute {
	attributes := make([][]sdp.Attribute, len(description.MediaDescriptions))
	for i, section := range description.MediaDescriptions {
		attributes[i] = section.Attributes
	}

	return attributes
}
