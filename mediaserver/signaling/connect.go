package signaling

import (
	"bytes"
	"encoding/json"
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// maxIDLength of channel, client and bundle ids, in bytes, as in Sora.
	maxIDLength = 255
	// maxMetadataLength of metadata and signaling_notify_metadata each, in bytes
	// of compact JSON. The latter is sent to every member of the channel.
	maxMetadataLength = 16 << 10
	// maxSoraClientLength of what is kept for the logs, in bytes.
	maxSoraClientLength = 100
)

// roles are those of today's protocol; upstream and downstream are long gone.
var roles = map[string]forwardingv1.Role{
	"sendrecv": forwardingv1.Role_ROLE_SENDRECV,
	"sendonly": forwardingv1.Role_ROLE_SENDONLY,
	"recvonly": forwardingv1.Role_ROLE_RECVONLY,
}

// mediaRules are what a connect message may ask of one kind.
type mediaRules struct {
	codecTypes             []string // those that are served, the default first
	minBitRate, maxBitRate int      // kbit/s
	invalid                string   // the close reason
	opus                   Opus     // the default
}

var (
	// RFC 6716 section 2.1.1 has the range of Opus.
	audioRules = mediaRules{
		codecTypes: []string{"OPUS"}, minBitRate: 6, maxBitRate: 510, invalid: ReasonInvalidAudioFormat, opus: defaultOpus,
	}
	videoRules = mediaRules{
		codecTypes: []string{"VP9", "VP8", "H264", "AV1"}, minBitRate: 1, maxBitRate: 50_000,
		invalid: ReasonInvalidVideoFormat,
	}
)

func decodeConnect(fields object) (Message, error) {
	c := Connect{fields: fields}
	role, _ := stringOf(fields["role"])
	if c.Role = roles[role]; c.Role == forwardingv1.Role_ROLE_UNSPECIFIED {
		return nil, refuse(ReasonInvalidRole, "role %.20q: use sendrecv, sendonly or recvonly", role)
	}
	for _, id := range []struct {
		name, reason string
		required     bool
		value        *string
	}{
		{"channel_id", ReasonInvalidChannelID, true, &c.ChannelID},
		{"client_id", ReasonInvalidClientID, false, &c.ClientID},
		{"bundle_id", ReasonInvalidBundleID, false, &c.BundleID},
	} {
		if isNull(fields[id.name]) && !id.required {
			continue
		}
		value, ok := stringOf(fields[id.name])
		if !ok || value == "" || len(value) > maxIDLength {
			return nil, refuse(id.reason, "%s must be a string of 1 to %d bytes", id.name, maxIDLength)
		}
		*id.value = value
	}
	if err := refuseUnserved(fields); err != nil {
		return nil, err
	}
	if err := c.decodeSimulcast(fields); err != nil {
		return nil, err
	}

	var err error
	if c.Spotlight, err = decodeSpotlight(fields); err != nil {
		return nil, err
	}
	if c.Audio, err = decodeMedia(fields["audio"], audioRules); err != nil {
		return nil, err
	}
	if c.Video, err = decodeMedia(fields["video"], videoRules); err != nil {
		return nil, err
	}
	if c.Metadata, err = decodeMetadata("metadata", fields["metadata"]); err != nil {
		return nil, err
	}
	if c.NotifyMetadata, err = decodeMetadata("signaling_notify_metadata",
		fields["signaling_notify_metadata"]); err != nil {
		return nil, err
	}
	c.SoraClient = shortText(fields["sora_client"])
	c.Redirected = string(fields["redirect"]) == "true"

	return c, nil
}

// refuseUnserved refuses what would change who gets which media and is not
// served: a client that is taken in would believe that it is.
func refuseUnserved(fields object) error {
	for _, feature := range []struct {
		name, reason, mend string
		unserved           bool // the value that is refused
	}{
		{"multistream", ReasonLegacyStream, "legacy streams do not exist; leave multistream out", false},
	} {
		if isNull(fields[feature.name]) {
			continue
		}
		var value bool
		if json.Unmarshal(fields[feature.name], &value) != nil {
			return refuse(ReasonInvalidJSON, "%s must be true or false", feature.name)
		}
		if value == feature.unserved {
			return refuse(feature.reason, "%s", feature.mend)
		}
	}
	for _, name := range []string{"forwarding_filter", "forwarding_filters"} {
		if !isNull(fields[name]) && !bytes.Equal(fields[name], []byte("[]")) {
			return refuse(ReasonForwardingFilter, "%s would let through what it is to block; create an RtpStreamPause instead",
				name)
		}
	}

	return nil
}

// decodeMedia reads audio or video: absent and true are the default, false turns
// the kind off, an object chooses.
func decodeMedia(value json.RawMessage, rules mediaRules) (*Media, error) {
	media := &Media{CodecType: rules.codecTypes[0], Opus: rules.opus}
	if isNull(value) {
		return media, nil
	}
	var on bool
	if json.Unmarshal(value, &on) == nil {
		if !on {
			return nil, nil //nolint:nilnil // The kind is off, as Connect documents.
		}

		return media, nil
	}

	var fields object
	if json.Unmarshal(value, &fields) != nil {
		return nil, refuse(rules.invalid, "must be true, false or an object")
	}
	if codecType := fields["codec_type"]; !isNull(codecType) {
		name, ok := stringOf(codecType)
		if !ok {
			return nil, refuse(rules.invalid, "codec_type must be a string")
		}
		if name == "H265" {
			return nil, refuse(ReasonH265, "codec_type H265 is not served: use one of %v", rules.codecTypes)
		}
		if !slices.Contains(rules.codecTypes, name) {
			return nil, refuse(ReasonUnknownCodecType, "codec_type %.20q is not served: use one of %v", name, rules.codecTypes)
		}
		media.CodecType = name
	}
	if bitRate := fields["bit_rate"]; !isNull(bitRate) {
		if json.Unmarshal(bitRate, &media.BitRate) != nil || media.BitRate < rules.minBitRate ||
			media.BitRate > rules.maxBitRate {
			return nil, refuse(rules.invalid, "bit_rate must be a whole number from %d to %d kbit/s", rules.minBitRate,
				rules.maxBitRate)
		}
	}
	var err error
	if media.CodecType == "OPUS" {
		media.Opus, err = decodeOpus(fields["opus_params"])
	} else {
		media.Profile, err = decodeProfile(media.CodecType, fields)
	}
	if err != nil {
		return nil, err
	}

	return media, nil
}

// decodeMetadata copies any JSON value, compact, so that the frame can go.
func decodeMetadata(name string, value json.RawMessage) (json.RawMessage, error) {
	if isNull(value) {
		return nil, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return nil, refuse(ReasonFailureJSONDecode, "%s is no JSON", name)
	}
	if compact.Len() > maxMetadataLength {
		return nil, refuse(ReasonInvalidMetadata, "%s is larger than %d bytes", name, maxMetadataLength)
	}

	return bytes.Clone(compact.Bytes()), nil // Spaces are not kept either.
}
