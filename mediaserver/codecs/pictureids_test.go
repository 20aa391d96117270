package codecs_test

import (
	"bytes"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// patch moves a payload's ids.
func patch(payload []byte, facts codecs.Facts, shift codecs.Shift) {
	p := facts.PictureIDs.Patch(payload, shift)
	p.Apply(payload)
}

// Each id moves by the shift within its width, and nothing else of the payload changes.
func TestPatch(t *testing.T) {
	for _, test := range []struct {
		name         string
		codec        codecs.Codec
		payload      []byte
		shift        codecs.Shift
		wantsPayload []byte
	}{
		{"VP8, 7 bits", codecs.VP8, []byte{0x90, 0x80, 0x05, 0x00}, codecs.Shift{PictureID: 2, TL0PICIDX: 1},
			[]byte{0x90, 0x80, 0x07, 0x00}},
		{"VP8, 7 bits wrap", codecs.VP8, []byte{0x90, 0x80, 0x7f, 0x00}, codecs.Shift{PictureID: 0x7f82},
			[]byte{0x90, 0x80, 0x01, 0x00}},
		{"VP8, 15 bits", codecs.VP8, []byte{0x90, 0x80, 0x80, 0xff, 0x00}, codecs.Shift{PictureID: 1},
			[]byte{0x90, 0x80, 0x81, 0x00, 0x00}},
		{"VP8, 15 bits wrap", codecs.VP8, []byte{0x90, 0x80, 0xff, 0xff, 0x00}, codecs.Shift{PictureID: 2},
			[]byte{0x90, 0x80, 0x80, 0x01, 0x00}},
		{
			"VP8, everything", codecs.VP8, []byte{0x90, 0xf0, 0x81, 0x01, 0xff, 0x20, 0x00},
			codecs.Shift{PictureID: 0xffff, TL0PICIDX: 2}, []byte{0x90, 0xf0, 0x81, 0x00, 0x01, 0x20, 0x00},
		},
		{"VP8, no ids", codecs.VP8, []byte{0x10, 0x00, 0x01}, codecs.Shift{PictureID: 1, TL0PICIDX: 1},
			[]byte{0x10, 0x00, 0x01}},
		{
			"VP9, layers", codecs.VP9, []byte{0xa8, 0x81, 0x01, 0x20, 0x05, 0x00},
			codecs.Shift{PictureID: 0x100, TL0PICIDX: 0xff}, []byte{0xa8, 0x82, 0x01, 0x20, 0x04, 0x00},
		},
		{"VP9, flexible mode", codecs.VP9, []byte{0xb8, 0x03, 0x00, 0x05}, codecs.Shift{PictureID: 1, TL0PICIDX: 1},
			[]byte{0xb8, 0x04, 0x00, 0x05}},
		{"H264", codecs.H264, []byte{0x67, 0x42, 0x00}, codecs.Shift{PictureID: 1, TL0PICIDX: 1}, []byte{0x67, 0x42, 0x00}},
	} {
		payload := bytes.Clone(test.payload)
		patch(payload, test.codec.Inspect(payload), test.shift)
		if !bytes.Equal(payload, test.wantsPayload) {
			t.Errorf("%s: %x, want %x", test.name, payload, test.wantsPayload)
		}
	}
}

// A picture that follows another has both of its numbers one further, wherever they wrap.
func TestFollowingPicture(t *testing.T) {
	seen := codecs.PictureIDs{PictureID: 0xffff, TL0PICIDX: 0xff}
	next := codecs.PictureIDs{PictureID: 7, TL0PICIDX: 250}
	if got := next.Shifted(next.To(seen)); got != (codecs.PictureIDs{}) {
		t.Errorf("behind %+v comes %+v, want zeroes", seen, got)
	}
}

// Whatever the payload: no shift, no change; and what a shift did, the opposite one undoes, wherever the ids wrap.
func FuzzPatch(f *testing.F) {
	for _, test := range payloads {
		f.Add(test.payload, uint16(3), uint8(4))
	}
	f.Fuzz(func(t *testing.T, original []byte, pictureID uint16, tl0PicIdx uint8) {
		for _, codec := range all {
			payload := bytes.Clone(original)
			before := codec.Inspect(payload)
			patch(payload, before, codecs.Shift{})
			if !bytes.Equal(payload, original) {
				t.Fatalf("%v: without a shift %x becomes %x", codec, original, payload)
			}
			patch(payload, before, codecs.Shift{PictureID: pictureID, TL0PICIDX: tl0PicIdx})
			after := codec.Inspect(payload)
			if after.KeyframeStart != before.KeyframeStart {
				t.Fatalf("%v: %x becomes %x: %+v, then %+v", codec, original, payload, before, after)
			}
			patch(payload, after, codecs.Shift{PictureID: -pictureID, TL0PICIDX: -tl0PicIdx})
			if !bytes.Equal(payload, original) {
				t.Fatalf("%v: there and back %x becomes %x", codec, original, payload)
			}
		}
	})
}
