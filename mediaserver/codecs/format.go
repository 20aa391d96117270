package codecs

// Format is a codec with the profile that it is used in. Who can decode the one profile may not be able to
// decode another, so an m-line that carries the one cannot carry the other. Formats are equal if they are
// the same.
type Format struct {
	Codec   Codec
	profile string // empty: the codec's default
}

// description is what SDP says of a codec.
type description struct {
	name string // and clock rate and channels, as in a=rtpmap
	// parameters are those of a=fmtp, the profile last; none where the codec has no profiles.
	parameters, profile string
}

var descriptions = [...]description{
	Opus: {name: "opus/48000/2"}, // RFC 7587 section 7; its parameters are the client's, see OpusParameters
	VP8:  {name: "VP8/90000"},
	VP9:  {name: "VP9/90000", parameters: "profile-id=", profile: "0"}, // RFC 9628 section 6
	// RFC 6184 section 8.1: constrained baseline of level 3.1. Each side may send another level than it takes.
	H264: {
		name:       "H264/90000",
		parameters: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=", profile: "42e01f",
	},
	AV1: {name: "AV1/90000", parameters: "level-idx=5;tier=0;profile=", profile: "0"}, // its RTP format, section 7.2
}

// videoFeedback is what the server takes of receivers of video, and gives its senders: a=rtcp-fb.
var videoFeedback = []string{"goog-remb", "ccm fir", "nack", "nack pli"}

// Format is the codec in a profile as SDP spells it: VP9's profile-id, H264's profile-level-id, AV1's
// profile. Empty: VP9's and AV1's profile 0, H264's 42e01f.
func (c Codec) Format(profile string) Format {
	if profile == descriptions[c].profile {
		profile = ""
	}

	return Format{c, profile}
}

// Default tells whether the profile is the one that a codec has when none is named.
func (f Format) Default() bool { return f.profile == "" }

// Name is the format's in a=rtpmap (RFC 8866 section 6.6), such as VP9/90000.
func (f Format) Name() string { return descriptions[f.Codec].name }

// Parameters are the format's in a=fmtp (RFC 8866 section 6.15); empty: none, or Opus.
func (f Format) Parameters() string {
	d := descriptions[f.Codec]
	if f.profile != "" {
		return d.parameters + f.profile
	}

	return d.parameters + d.profile
}

// Feedback is the values of a=rtcp-fb (RFC 4585 section 4.2).
func (f Format) Feedback() []string {
	if f.Codec == Opus {
		return nil
	}

	return videoFeedback
}

// Retransmitted tells whether packets are sent again, on a stream of their own where the client knows it
// (RFC 4588). Audio that is sent again would come too late.
func (f Format) Retransmitted() bool { return f.Codec != Opus }

// String is the codec and, unless it is the default, the profile.
func (f Format) String() string {
	if f.profile == "" {
		return f.Codec.String()
	}

	return f.Codec.String() + " " + f.profile
}
