package knowledge

import (
	"testing"
	"unsafe"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// What the connections of a channel have alike is kept once, and they stay what
// they were reported as.
func TestConnectionsShareWhatTheyHaveAlike(t *testing.T) {
	w := listed()
	report := reportOf("lobby", 1, 1, 0, "A", "B", "C", "D")
	for i, c := range report.GetJoined() {
		c.BundleId, c.SessionId = string([]byte(c.GetConnectionId())), string([]byte("session"))
		c.Audio, c.Video = &forwardingv1.AudioCodec{CodecType: "OPUS"}, &forwardingv1.VideoCodec{CodecType: "VP8"}
		if i == 3 {
			c.Audio, c.Video = nil, &forwardingv1.VideoCodec{CodecType: "AV1"}
		}
	}
	want := proto.CloneOf(report)
	w.stream(t, "ms", start, report)
	copies := map[any]int{}
	for i, c := range w.Connections("lobby", []string{"A", "B", "C", "D"}, nil).Connections {
		if !proto.Equal(c.Connection, want.GetJoined()[i]) {
			t.Errorf("kept is %v, of %v", c.Connection, want.GetJoined()[i])
		}
		if unsafe.StringData(c.GetBundleId()) != unsafe.StringData(c.GetConnectionId()) {
			t.Error("one id is kept twice")
		}
		copies[unsafe.StringData(c.GetSessionId())]++
		copies[c.GetAudio()]++
		copies[c.GetVideo()]++
	}
	// Of the session one, of codecs two; one more each where D joined between others.
	if len(copies) > 1+3+3 {
		t.Errorf("%d copies are kept: %v", len(copies), copies)
	}
}
