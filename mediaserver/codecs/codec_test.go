package codecs_test

import (
	"testing"

	pion "github.com/pion/rtp/codecs"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

var all = []codecs.Codec{codecs.Opus, codecs.VP8, codecs.VP9, codecs.H264, codecs.AV1}

// Names are Sora's, and nothing else is one.
func TestParse(t *testing.T) {
	kinds := map[string]media.Kind{
		"OPUS": media.Audio, "VP8": media.Video, "VP9": media.Video, "H264": media.Video, "AV1": media.Video,
	}
	for name, kind := range kinds {
		codec, ok := codecs.Parse(name)
		if !ok || codec.String() != name || codec.Kind() != kind {
			t.Errorf("%s: %v of %v, %v", name, codec, codec.Kind(), ok)
		}
	}
	for _, name := range []string{"", "vp9", "H265", "opus", "RED"} {
		if codec, ok := codecs.Parse(name); ok {
			t.Errorf("%q is %v", name, codec)
		}
	}
}

// ids are what is read of a payload, and where the next test may look for it.
type ids struct {
	pictureID uint16
	tl0PicIdx uint8
}

var payloads = []struct {
	name    string
	codec   codecs.Codec
	payload []byte
	starts  bool
	ids     ids
}{
	{"nothing", codecs.Opus, nil, false, ids{}},
	{"anything", codecs.Opus, []byte{0}, true, ids{}},

	{"nothing", codecs.VP8, nil, false, ids{}},
	{"descriptor alone", codecs.VP8, []byte{0x10}, false, ids{}},
	{"keyframe", codecs.VP8, []byte{0x10, 0x00}, true, ids{}},
	{"reserved and N bits set", codecs.VP8, []byte{0x78, 0x00}, true, ids{}},
	{"interframe", codecs.VP8, []byte{0x10, 0x01}, false, ids{}},
	{"later packet", codecs.VP8, []byte{0x00, 0x00}, false, ids{}},
	{"later partition", codecs.VP8, []byte{0x11, 0x00}, false, ids{}},
	{"extended without extension", codecs.VP8, []byte{0x90, 0x00, 0x00}, true, ids{}},
	{"extension cut off", codecs.VP8, []byte{0x90}, false, ids{}},
	{"short picture id", codecs.VP8, []byte{0x90, 0x80, 0x7f, 0x00}, true, ids{pictureID: 0x7f}},
	{"long picture id", codecs.VP8, []byte{0x90, 0x80, 0x81, 0x01, 0x00}, true, ids{pictureID: 0x101}},
	{"long picture id cut off", codecs.VP8, []byte{0x90, 0x80, 0x80, 0x00}, false, ids{}},
	{"picture id missing", codecs.VP8, []byte{0x90, 0x80}, false, ids{}},
	{"everything", codecs.VP8, []byte{0x90, 0xf0, 0x81, 0x01, 0x05, 0x20, 0x00}, true, ids{0x101, 5}},
	{"everything, interframe", codecs.VP8, []byte{0x90, 0xf0, 0x80, 0x02, 0x03, 0x00, 0x01}, false, ids{2, 3}},
	{"everything, later packet", codecs.VP8, []byte{0x80, 0xf0, 0x80, 0x02, 0x03, 0x00, 0x00}, false, ids{2, 3}},
	{"TL0PICIDX alone", codecs.VP8, []byte{0x90, 0x40, 0x09, 0x00}, true, ids{tl0PicIdx: 9}},
	{"keyidx without tid", codecs.VP8, []byte{0x90, 0x10, 0x01, 0x00}, true, ids{}},
	{"tid cut off", codecs.VP8, []byte{0x90, 0x20, 0x00}, false, ids{}},

	{"nothing", codecs.VP9, nil, false, ids{}},
	{"descriptor alone", codecs.VP9, []byte{0x08}, false, ids{}},
	{"keyframe", codecs.VP9, []byte{0x08, 0x00}, true, ids{}},
	{"end of keyframe", codecs.VP9, []byte{0x04, 0x00}, false, ids{}},
	{"interframe", codecs.VP9, []byte{0x48, 0x00}, false, ids{}},
	{"short picture id", codecs.VP9, []byte{0x88, 0x7f, 0x00}, true, ids{pictureID: 0x7f}},
	{"long picture id", codecs.VP9, []byte{0x88, 0x81, 0x01, 0x00}, true, ids{pictureID: 0x101}},
	{"long picture id cut off", codecs.VP9, []byte{0x88, 0x81}, false, ids{}},
	{"lowest layer", codecs.VP9, []byte{0xa8, 0x81, 0x01, 0x20, 0x05, 0x00}, true, ids{0x101, 5}},
	{"lowest layer, interframe", codecs.VP9, []byte{0xe8, 0x81, 0x01, 0x20, 0x05, 0x00}, false, ids{0x101, 5}},
	{"upper layer", codecs.VP9, []byte{0xa8, 0x81, 0x01, 0x03, 0x05, 0x00}, false, ids{0x101, 5}},
	{"flexible mode has no TL0PICIDX", codecs.VP9, []byte{0xb8, 0x03, 0x00, 0x05}, true, ids{pictureID: 3}},
	{"upper layer in flexible mode", codecs.VP9, []byte{0xb8, 0x03, 0x03, 0x05}, false, ids{pictureID: 3}},
	{"layers cut off", codecs.VP9, []byte{0xa8, 0x03}, false, ids{}},
	{"descriptor with layers alone", codecs.VP9, []byte{0xb8, 0x03, 0x00}, false, ids{}},
	{"TL0PICIDX cut off", codecs.VP9, []byte{0xa8, 0x03, 0x00}, false, ids{}},

	{"nothing", codecs.H264, nil, false, ids{}},
	{"one byte", codecs.H264, []byte{0x67}, false, ids{}},
	{"sequence parameter set", codecs.H264, []byte{0x67, 0x42}, true, ids{}},
	{"picture parameter set", codecs.H264, []byte{0x68, 0xce}, false, ids{}},
	{"IDR slice", codecs.H264, []byte{0x65, 0x88}, false, ids{}},
	{"aggregated, first", codecs.H264, []byte{0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68}, true, ids{}},
	{"aggregated, second", codecs.H264, []byte{0x78, 0, 2, 0x09, 0x10, 0, 1, 0x67}, true, ids{}},
	{"aggregated, none", codecs.H264, []byte{0x78, 0, 2, 0x68, 0x42, 0, 1, 0x65}, false, ids{}},
	{"a size that lies", codecs.H264, []byte{0x78, 0, 3, 0x68, 0x67}, false, ids{}},
	{"a size of nothing", codecs.H264, []byte{0x78, 0, 0, 0, 1, 0x67}, false, ids{}},
	{"first fragment of an IDR slice", codecs.H264, []byte{0x7c, 0x85, 0x88}, false, ids{}},
	{"later fragment", codecs.H264, []byte{0x7c, 0x07, 0x67}, false, ids{}},

	{"nothing", codecs.AV1, nil, false, ids{}},
	{"header alone", codecs.AV1, []byte{0x18}, false, ids{}},
	{"new sequence", codecs.AV1, []byte{0x18, 0x0a}, true, ids{}},
	{"new sequence, in fragments", codecs.AV1, []byte{0x58, 0x0a}, true, ids{}},
	{"same sequence", codecs.AV1, []byte{0x10, 0x32}, false, ids{}},
	{"both new and continued", codecs.AV1, []byte{0x98, 0x0a}, false, ids{}},
}

func TestInspect(t *testing.T) {
	for _, test := range payloads {
		facts := test.codec.Inspect(test.payload)
		read := ids{facts.PictureIDs.PictureID, facts.PictureIDs.TL0PICIDX}
		if facts.KeyframeStart != test.starts || read != test.ids {
			t.Errorf("%v, %s: %x: starts: %v, want %v; ids %v, want %v",
				test.codec, test.name, test.payload, facts.KeyframeStart, test.starts, read, test.ids)
		}
	}
}

// Every forwarded packet is inspected, and its ids may be rewritten for each receiver.
func TestInspectAllocatesNothing(t *testing.T) {
	for _, test := range payloads {
		allocations := testing.AllocsPerRun(10, func() {
			facts := test.codec.Inspect(test.payload)
			patch(test.payload, facts, codecs.Shift{})
		})
		if allocations != 0 {
			t.Errorf("%v, %s: %v allocations", test.codec, test.name, allocations)
		}
	}
}

// Other readers of the payload formats have to agree on every payload that they can read.
func FuzzInspect(f *testing.F) {
	for _, test := range payloads {
		f.Add(test.payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, codec := range all {
			facts := codec.Inspect(payload)
			starts, read, known := readByOthers(codec, payload)
			if known && (facts.KeyframeStart != starts || facts.PictureIDs.PictureID != read.pictureID ||
				facts.PictureIDs.TL0PICIDX != read.tl0PicIdx) {
				t.Errorf("%v: %x: %+v, want a start: %v, ids %v", codec, payload, facts, starts, read)
			}
		}
	})
}

// readByOthers is what Pion reads; known: it can.
func readByOthers(codec codecs.Codec, payload []byte) (starts bool, read ids, known bool) {
	switch codec {
	case codecs.VP8:
		var p pion.VP8Packet
		frame, err := p.Unmarshal(payload)
		if err != nil || len(frame) == 0 {
			return false, ids{}, false
		}

		return p.S == 1 && p.PID == 0 && frame[0]&1 == 0, ids{p.PictureID, p.TL0PICIDX}, true
	case codecs.VP9:
		var p pion.VP9Packet
		frame, err := p.Unmarshal(payload)
		if err != nil || len(frame) == 0 {
			return false, ids{}, false
		}

		return p.B && !p.P && p.SID == 0, ids{p.PictureID, p.TL0PICIDX}, true
	case codecs.AV1:
		var p pion.AV1Packet //nolint:staticcheck // It reads the header as the specification has it.
		if _, err := p.Unmarshal(payload); err != nil {
			return false, ids{}, false
		}

		return p.N && !p.Z, ids{}, true
	default:
		return false, ids{}, false
	}
}
