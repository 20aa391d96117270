package signaling

import (
	"encoding/json"
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// RIDs name the encodings of simulcast, the smallest picture first.
var RIDs = [...]string{"r0", "r1", "r2"}

// RIDNone is what a client asks for that wants none of them.
const RIDNone = "none"

// Encoding is one encoding in the words of WebRTC's RTCRtpEncodingParameters, which SDKs
// hand to the browser as they are. What is zero is the browser's choice.
type Encoding struct {
	RID                   string      `json:"rid"`
	Active                bool        `json:"active"`
	MinBitRate            int         `json:"minBitrate,omitempty"` // in bit/s
	MaxBitRate            int         `json:"maxBitrate,omitempty"` // in bit/s
	MaxFrameRate          float64     `json:"maxFramerate,omitempty"`
	ScaleResolutionDownBy float64     `json:"scaleResolutionDownBy,omitempty"`
	ScaleResolutionDownTo *Resolution `json:"scaleResolutionDownTo,omitempty"`
	ScalabilityMode       string      `json:"scalabilityMode"`
	AdaptivePTime         bool        `json:"adaptivePtime,omitempty"`
}

// Resolution bounds a picture, in pixels.
type Resolution struct {
	MaxWidth  int `json:"maxWidth"`
	MaxHeight int `json:"maxHeight"`
}

// shares are what each encoding may have of a sender's bit rate, of all of them
// together: a picture of twice the width and height takes some three times as much.
var shares = [len(RIDs)]int{1, 3, 8}

// newEncodings are what a sender is asked for, with a bit rate in kbit/s; 0: it named
// none, and browsers go by the size of the picture. One layer in time each: a browser
// would make three otherwise.
func newEncodings(bitRate int) []Encoding {
	encodings := make([]Encoding, len(RIDs))
	for i, rid := range RIDs {
		encodings[i] = Encoding{
			RID: rid, Active: true, MaxBitRate: bitRate * 1000 * shares[i] / 12,
			ScaleResolutionDownBy: float64(int(1) << (len(RIDs) - 1 - i)), ScalabilityMode: "L1T1",
		}
	}

	return encodings
}

// offersEncodings tells whether a client is asked for more than one encoding.
func (c Connect) offersEncodings() bool {
	return c.Simulcast && c.Video != nil && c.Role != forwardingv1.Role_ROLE_RECVONLY
}

// decodeEncodings reads what an authority has the client send: each encoding is as it would
// be otherwise but for what is said of it, and one that is not named is inactive. It is nil
// where nothing is said.
func decodeEncodings(value json.RawMessage, bitRate int) ([]Encoding, error) {
	if isNull(value) {
		return nil, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil || len(list) == 0 {
		return nil, refuse(ReasonInvalidJSON, "simulcast_encodings must be a list of encodings")
	}
	encodings := newEncodings(bitRate)
	for i := range encodings {
		encodings[i].Active = false
	}
	named := map[string]bool{}
	for _, text := range list {
		var fields object
		if json.Unmarshal(text, &fields) != nil {
			return nil, refuse(ReasonInvalidJSON, "an encoding of simulcast_encodings must be an object")
		}
		rid, _ := stringOf(fields["rid"])
		i := slices.Index(RIDs[:], rid)
		if i < 0 || named[rid] {
			return nil, refuse(ReasonInvalidRID, "rid %.20q in simulcast_encodings: use r0, r1 and r2, each once", rid)
		}
		named[rid] = true
		encodings[i].Active = true
		if !isNull(fields["scaleResolutionDownTo"]) {
			encodings[i].ScaleResolutionDownBy = 0 // A browser takes one of them.
		}
		if json.Unmarshal(text, &encodings[i]) != nil || !encodings[i].valid() {
			return nil, refuse(ReasonInvalidJSON, "encoding %s of simulcast_encodings is not one of WebRTC's", rid)
		}
	}

	return encodings, nil
}

// valid tells whether a browser takes the encoding: it would reject all of them otherwise.
func (e Encoding) valid() bool {
	to := e.ScaleResolutionDownTo

	return e.MinBitRate >= 0 && e.MaxBitRate >= 0 && e.MaxFrameRate >= 0 && e.ScalabilityMode != "" &&
		(e.ScaleResolutionDownBy == 0 || e.ScaleResolutionDownBy >= 1) &&
		(to == nil || to.MaxWidth > 0 && to.MaxHeight > 0)
}

// decodeSimulcast reads whether the client takes part in simulcast, and which encoding
// of the others it wants: simulcast_rid is the older name.
func (c *Connect) decodeSimulcast(fields object) error {
	if !isNull(fields["simulcast"]) && json.Unmarshal(fields["simulcast"], &c.Simulcast) != nil {
		return refuse(ReasonInvalidJSON, "simulcast must be true or false")
	}
	for _, name := range []string{"simulcast_rid", "simulcast_request_rid"} {
		if isNull(fields[name]) {
			continue
		}
		rid, ok := ridOf(fields[name])
		if !ok {
			return refuse(ReasonInvalidRID, "%s %.20q: use none, r0, r1 or r2", name, rid)
		}
		c.RequestRID = rid
	}

	return nil
}

// ridOf reads one of RIDs or RIDNone.
func ridOf(value json.RawMessage) (rid string, ok bool) {
	rid, _ = stringOf(value)

	return rid, rid == RIDNone || slices.Contains(RIDs[:], rid)
}
