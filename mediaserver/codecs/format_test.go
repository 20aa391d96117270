package codecs_test

import (
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// A format is one and the same whether its default profile is named or not, and another with another profile.
func TestFormatsAreEqualByProfile(t *testing.T) {
	for codec, profile := range map[codecs.Codec]string{codecs.VP9: "0", codecs.H264: "42e01f", codecs.AV1: "0"} {
		other := strings.Replace(profile, "0", "1", 1)
		if !codec.Format(profile).Default() || codec.Format(other).Default() {
			t.Errorf("%v: the default is not %s", codec, profile)
		}
		if codec.Format(profile) != codec.Format("") || codec.Format(other) == codec.Format("") {
			t.Errorf("%v: %v, %v and %v", codec, codec.Format(profile), codec.Format(""), codec.Format(other))
		}
		for _, profile := range []string{profile, other} {
			if parameters := codec.Format(profile).Parameters(); !strings.HasSuffix(parameters, "="+profile) {
				t.Errorf("%v: parameters %q, want profile %s", codec, parameters, profile)
			}
		}
	}
	if codecs.VP8.Format("") == codecs.VP9.Format("") {
		t.Error("VP8 is VP9")
	}
}

// What each format is in SDP.
func TestFormats(t *testing.T) {
	const h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="
	for _, test := range []struct {
		format           codecs.Format
		text, name, fmtp string
	}{
		{codecs.Opus.Format(""), "OPUS", "opus/48000/2", ""},
		{codecs.VP8.Format(""), "VP8", "VP8/90000", ""},
		{codecs.VP9.Format("2"), "VP9 2", "VP9/90000", "profile-id=2"},
		{codecs.H264.Format(""), "H264", "H264/90000", h264 + "42e01f"},
		{codecs.H264.Format("640032"), "H264 640032", "H264/90000", h264 + "640032"},
		{codecs.AV1.Format("1"), "AV1 1", "AV1/90000", "level-idx=5;tier=0;profile=1"},
	} {
		f := test.format
		if f.String() != test.text || f.Name() != test.name || f.Parameters() != test.fmtp {
			t.Errorf("%v: %q, %q, want %+v", f, f.Name(), f.Parameters(), test)
		}
		if video := f.Codec != codecs.Opus; f.Retransmitted() != video || (len(f.Feedback()) > 0) != video {
			t.Errorf("%v: retransmitted: %v, feedback %q", f, f.Retransmitted(), f.Feedback())
		}
	}
}
