package signaling

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
)

// profiles are where the protocol has the profile of a codec; the others have none.
var profiles = map[string]struct {
	object, field string
	last          int // the profiles are numbers from 0 to this one; 0: a profile-level-id of H264
}{
	"VP9":  {object: "vp9_params", field: "profile_id", last: 3}, // RFC 9628 section 6
	"AV1":  {object: "av1_params", field: "profile", last: 2},    // AV1 RTP payload format, section 7.2.1
	"H264": {object: "h264_params", field: "profile_level_id"},   // RFC 6184 section 8.1
}

// decodeProfile reads the profile that a client asks of its codec. What it says of other codecs is ignored.
func decodeProfile(codecType string, fields object) (string, error) {
	profile := profiles[codecType]
	value := fields[profile.object]
	if isNull(value) {
		return "", nil
	}
	var parameters object
	if json.Unmarshal(value, &parameters) != nil {
		return "", refuse(ReasonInvalidVideoFormat, "%s must be an object", profile.object)
	}
	if value = parameters[profile.field]; isNull(value) {
		return "", nil
	}
	if profile.last > 0 {
		var number int
		if json.Unmarshal(value, &number) != nil || number < 0 || number > profile.last {
			return "", refuse(ReasonInvalidVideoFormat, "%s.%s must be a whole number from 0 to %d",
				profile.object, profile.field, profile.last)
		}

		return strconv.Itoa(number), nil
	}
	text, _ := stringOf(value)
	if id, err := hex.DecodeString(text); err != nil || len(id) != 3 {
		return "", refuse(ReasonInvalidVideoFormat, "%s.%s must be 6 hexadecimal digits, such as 42e01f",
			profile.object, profile.field)
	}

	return strings.ToLower(text), nil
}
