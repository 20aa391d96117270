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

// encodingMessage is one encoding in the words of WebRTC's RTCRtpEncodingParameters,
// which SDKs hand to the browser as they are.
type encodingMessage struct {
	RID                   string  `json:"rid"`
	Active                bool    `json:"active"`
	MaxBitRate            int     `json:"maxBitrate,omitempty"` // in bit/s
	ScaleResolutionDownBy float64 `json:"scaleResolutionDownBy"`
	ScalabilityMode       string  `json:"scalabilityMode"`
}

// shares are what each encoding may have of a sender's bit rate, of all of them
// together: a picture of twice the width and height takes some three times as much.
var shares = [len(RIDs)]int{1, 3, 8}

// newEncodings are what a sender is asked for, with a bit rate in kbit/s; 0: it named
// none, and browsers go by the size of the picture. One layer in time each: a browser
// would make three otherwise.
func newEncodings(bitRate int) []encodingMessage {
	encodings := make([]encodingMessage, len(RIDs))
	for i, rid := range RIDs {
		encodings[i] = encodingMessage{
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
