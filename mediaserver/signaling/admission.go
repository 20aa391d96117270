package signaling

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/nagi-rtc/nagi/mediaserver/auth"
)

// maxCloseReason is how long the reason in a close frame may be, in bytes (RFC 6455
// section 5.5: a control frame has 125, and 2 are the code).
const maxCloseReason = 123

// admit has the authority decide about a client, and returns what it is admitted as. What
// it offered for its authentication ends here. The error is a *CloseError.
func (c *connection) admit(request Connect) (Connect, error) {
	admitted := request
	if c.config.Authority != nil && c.decided == nil {
		answer, err := c.config.Authority.Decide(c.ctx, c.ask(request))
		if err != nil {
			return Connect{}, notAdmitted(err)
		}
		c.decided = answer
	}
	if answer := c.decided; answer != nil {
		var err error
		if ignored := unserved(answer); len(ignored) > 0 {
			c.log.Info("the authority's answer has fields that have no effect here", "fields", ignored)
		}
		if admitted, err = request.decided(answer); err != nil {
			told := closeErrorOf(err, ReasonAuthenticationInternalError)

			return Connect{}, refuse(ReasonAuthenticationInternalError, "the authority's answer cannot be met: %s: %s",
				told.Reason, told.Detail)
		}
	}
	admitted.ConnectionID = request.ConnectionID
	admitted.Metadata, admitted.fields, admitted.text = nil, nil, nil

	return admitted, nil
}

// notAdmitted is what a client is told whom the authority does not let in.
func notAdmitted(err error) *CloseError {
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) {
		return refuse(ReasonAuthenticationInternalError, "%v", err)
	}
	told := refuse(ReasonAuthenticationFailure, "%s", refusal.Detail)
	if reason := refusal.Reason; reason != "" {
		told.counted = told.Reason
		told.Reason = strings.ToValidUTF8(reason[:min(len(reason), maxCloseReason)], "")
	}

	return told
}

// ask puts what the client asks for into the authority's words.
func (c *connection) ask(request Connect) auth.Request {
	role, _ := Role(request.Role).MarshalText() // It never fails.
	counts := c.config.Channels.Counts(request.ChannelID)
	asked := auth.Request{
		From:                c.from,
		Role:                string(role),
		ChannelID:           request.ChannelID,
		ClientID:            cmp.Or(request.ClientID, request.ConnectionID),
		BundleID:            cmp.Or(request.BundleID, request.ConnectionID),
		ConnectionID:        request.ConnectionID,
		Metadata:            request.Metadata,
		Multistream:         true,
		Simulcast:           request.Simulcast,
		Spotlight:           request.Spotlight != nil,
		Connections:         counts.Connections,
		SendrecvConnections: counts.SendrecvConnections,
		SendonlyConnections: counts.SendonlyConnections,
		RecvonlyConnections: counts.RecvonlyConnections,
		SoraClient: auth.SoraClient{
			Raw:         request.SoraClient,
			Environment: shortText(request.fields["environment"]),
			Libwebrtc:   shortText(request.fields["libwebrtc"]),
		},
	}
	if audio := request.Audio; audio != nil {
		asked.Audio, asked.AudioCodecType, asked.AudioBitRate = true, audio.CodecType, audio.BitRate
	}
	if video := request.Video; video != nil {
		asked.Video, asked.VideoCodecType, asked.VideoBitRate = true, video.CodecType, video.BitRate
	}

	return asked
}

// The fields of an answer.
var (
	// replacing are those that connect has too: they take its place. Some of them say
	// what is not served, which decodeConnect refuses as it does for clients.
	replacing = []string{
		"role", "client_id", "bundle_id", "signaling_notify_metadata", "multistream", "simulcast",
		"spotlight", "spotlight_number", "spotlight_focus_rid", "spotlight_unfocus_rid",
		"forwarding_filter", "forwarding_filters",
	}
	// wishes are names of one field.
	wishes = []string{"simulcast_rid", "simulcast_request_rid"}
	// parameters are those of a kind, which connect has within audio and video, and an
	// answer beside them: audio_bit_rate.
	parameters = map[string][]string{
		"audio": {"codec_type", "bit_rate", "opus_params"},
		"video": {"codec_type", "bit_rate", "vp9_params", "av1_params", "h264_params", "h265_params"},
	}
	// ineffective are those that add what is not served: nobody gets less, or sees more,
	// than the authority means.
	ineffective = []string{
		"event_metadata", "data_channel_signaling", "ignore_disconnect_websocket", "data_channels",
		"simulcast_multicodec", "simulcast_codecs", "simulcast_rpc_rids", "spotlight_encodings", "rpc_methods",
		"user_agent_stats", "audio_streaming", "audio_streaming_language_code", "audio_lyra_params",
		"h264_profile_level_id", "turn_tcp_only", "turn_tls_only", "signaling_notify_ice_connection_state",
	}
)

// unserved names the fields of an answer that ask for what is not served.
func unserved(answer auth.Answer) []string {
	return slices.DeleteFunc(slices.Clone(ineffective), func(name string) bool {
		value := answer[name]

		return isNull(value) || slices.Contains([]string{"false", "[]", "{}", `""`}, string(value))
	})
}

// decided is what the client asks for with what an authority has decided in its place.
// The error says which field of the answer cannot be met.
func (c Connect) decided(answer auth.Answer) (Connect, error) {
	if value := answer["signaling_notify"]; value != nil && string(value) != "true" {
		return c, refuse(ReasonInvalidJSON, "signaling_notify must be true: SDKs wait for connection.created")
	}
	fields := maps.Clone(c.fields)
	for _, name := range replacing {
		if value, ok := answer[name]; ok {
			fields[name] = value
		}
	}
	if slices.ContainsFunc(wishes, func(name string) bool { return answer[name] != nil }) {
		for _, name := range wishes {
			fields[name] = answer[name]
		}
	}
	for kind := range parameters {
		value, err := decidedMedia(kind, fields[kind], answer)
		if err != nil {
			return c, err
		}
		fields[kind] = value
	}
	decoded, err := decodeConnect(fields)
	if err != nil {
		return c, err
	}
	decided := decoded.(Connect) //nolint:forcetypeassert // decodeConnect returns nothing else.
	if decided.OfferMetadata, err = decodeMetadata("metadata", answer["metadata"]); err != nil {
		return c, err
	}
	if decided.Encodings, err = decodeEncodings(answer["simulcast_encodings"], decided.bitRate()); err != nil {
		return c, err
	}

	return decided, nil
}

// decidedMedia is audio or video of connect, with what an answer says of it in its place.
func decidedMedia(kind string, asked json.RawMessage, answer auth.Answer) (json.RawMessage, error) {
	var chosen object
	_ = json.Unmarshal(asked, &chosen) // What is no object chooses nothing.
	if decision, ok := answer[kind]; ok && (string(decision) != "true" || chosen == nil) {
		asked, chosen = decision, nil
		_ = json.Unmarshal(asked, &chosen)
	}
	if string(asked) == "false" {
		return asked, nil
	}
	all := object{}
	maps.Copy(all, chosen)
	decides := false
	for _, parameter := range parameters[kind] {
		if value, ok := answer[kind+"_"+parameter]; ok {
			all[parameter], decides = value, true
		}
	}
	if !decides {
		return asked, nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, refuse(ReasonInvalidJSON, "%s and what belongs to it are no JSON", kind)
	}

	return text, nil
}

// bitRate of the video that the client sends, in kbit/s, 0 if nobody named one.
func (c Connect) bitRate() int {
	if c.Video == nil {
		return 0
	}

	return c.Video.BitRate
}

// shortText is a string as it is told to the authority, cut off where it is long; of what
// is cut off nothing is kept.
func shortText(value json.RawMessage) string {
	text, _ := stringOf(value)
	text = text[:min(len(text), maxSoraClientLength)]

	return strings.Clone(strings.ToValidUTF8(text, ""))
}
