package rtc

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pion/ice/v4"
	"github.com/pion/sdp/v3"
)

// checkAnswer tells what of an answer does not fit its offer, before any of it is applied (RFC 3264 section 6, RFC 8829
// section 5.8).
func checkAnswer(offer, answer *sdp.SessionDescription) error {
	if offered, answered := len(offer.MediaDescriptions), len(answer.MediaDescriptions); offered != answered {
		return fmt.Errorf("%d m-lines answered, %d offered", answered, offered)
	}
	for i, media := range answer.MediaDescriptions {
		if err := checkMedia(offer.MediaDescriptions[i], media); err != nil {
			return fmt.Errorf("m-line %d: %w", i, err)
		}
	}
	for _, key := range []string{"ice-ufrag", "ice-pwd", "fingerprint"} {
		if !somewhere(answer, key) {
			return fmt.Errorf("no a=%s", key)
		}
	}

	return nil
}

// maxSSRCLines of one m-line: a browser writes four for each SSRC, and Pion compares each with each.
const maxSSRCLines = 64

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
	if answered.MediaName.Media != offered.MediaName.Media {
		return fmt.Errorf("%q answered, %q offered", answered.MediaName.Media, offered.MediaName.Media)
	}
	want, _ := offered.Attribute(sdp.AttrKeyMID)
	if got, _ := answered.Attribute(sdp.AttrKeyMID); got != want {
		return fmt.Errorf("mid %q answered, %q offered", got, want)
	}
	if answered.MediaName.Port.Value == 0 {
		return nil
	}
	for _, format := range answered.MediaName.Formats {
		if slices.Contains(offered.MediaName.Formats, format) {
			return nil
		}
	}

	return fmt.Errorf("formats %v answered, none of which was offered (%v)", answered.MediaName.Formats, offered.MediaName.Formats)
}

func somewhere(description *sdp.SessionDescription, key string) bool {
	if _, ok := description.Attribute(key); ok {
		return true
	}

	return slices.ContainsFunc(description.MediaDescriptions, func(media *sdp.MediaDescription) bool {
		_, ok := media.Attribute(key)

		return ok
	})
}

// sending: the answerer sends on the m-line. A direction holds for all m-lines when it stands at session level, and is
// sendrecv when it stands nowhere (RFC 8866 section 6.7).
func sending(answer *sdp.SessionDescription, media *sdp.MediaDescription) bool {
	if media.MediaName.Port.Value == 0 {
		return false
	}
	for _, attributes := range [][]sdp.Attribute{media.Attributes, answer.Attributes} {
		for _, attribute := range attributes {
			switch attribute.Key {
			case sdp.AttrKeySendRecv, sdp.AttrKeySendOnly:
				return true
			case sdp.AttrKeyRecvOnly, sdp.AttrKeyInactive:
				return false
			}
		}
	}

	return true
}

func declaresSSRC(media *sdp.MediaDescription) bool {
	_, ok := media.Attribute(sdp.AttrKeySSRC)

	return ok
}

// dropCandidates takes the candidates out of an answer that cannot be used or are too many.
func dropCandidates(answer *sdp.SessionDescription) (dropped int) {
	for _, media := range answer.MediaDescriptions {
		kept := 0
		media.Attributes = slices.DeleteFunc(media.Attributes, func(attribute sdp.Attribute) bool {
			if !attribute.IsICECandidate() {
				return false
			}
			if kept < maxCandidates && checkCandidate(attribute.Value) == nil {
				kept++

				return false
			}
			dropped++

			return true
		})
	}

	return dropped
}

func unknownCandidate(err error) bool {
	return errors.Is(err, ice.ErrUnknownCandidateTyp) || errors.Is(err, ice.ErrDetermineNetworkType)
}
