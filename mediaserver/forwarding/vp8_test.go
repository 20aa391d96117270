package forwarding_test

import (
	"testing"

	"github.com/pion/rtp/codecs"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

var vp8Payloads = []struct {
	name    string
	payload []byte
	want    bool
}{
	{"nothing", nil, false},
	{"descriptor alone", []byte{0x10}, false},
	{"keyframe", []byte{0x10, 0x00}, true},
	{"reserved and N bits set", []byte{0x78, 0x00}, true},
	{"interframe", []byte{0x10, 0x01}, false},
	{"later packet", []byte{0x00, 0x00}, false},
	{"later partition", []byte{0x11, 0x00}, false},
	{"extended without extension", []byte{0x90, 0x00, 0x00}, true},
	{"extension cut off", []byte{0x90}, false},
	{"short picture id", []byte{0x90, 0x80, 0x7f, 0x00}, true},
	{"long picture id", []byte{0x90, 0x80, 0x81, 0x01, 0x00}, true},
	{"long picture id cut off", []byte{0x90, 0x80, 0x80, 0x00}, false},
	{"picture id missing", []byte{0x90, 0x80}, false},
	{"everything", []byte{0x90, 0xf0, 0x81, 0x01, 0x05, 0x20, 0x00}, true},
	{"everything, interframe", []byte{0x90, 0xf0, 0x80, 0x00, 0x00, 0x00, 0x01}, false},
	{"keyidx without tid", []byte{0x90, 0x10, 0x01, 0x00}, true},
	{"tid cut off", []byte{0x90, 0x20, 0x00}, false},
}

func TestVP8KeyframeStart(t *testing.T) {
	for _, test := range vp8Payloads {
		if got := forwarding.VP8KeyframeStart(test.payload); got != test.want {
			t.Errorf("%s: %x: %v, want %v", test.name, test.payload, got, test.want)
		}
	}
}

// Another reader of RFC 7741 has to agree with ours on every payload it can read.
func FuzzVP8KeyframeStart(f *testing.F) {
	for _, test := range vp8Payloads {
		f.Add(test.payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got := forwarding.VP8KeyframeStart(payload)
		var other codecs.VP8Packet
		frame, err := other.Unmarshal(payload)
		if err != nil || len(frame) == 0 {
			return
		}
		if want := other.S == 1 && other.PID == 0 && frame[0]&1 == 0; got != want {
			t.Errorf("%x: %v, want %v", payload, got, want)
		}
	})
}
