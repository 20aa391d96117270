package browser

import (
	"fmt"
	"maps"
	"testing"
)

// TestSimulcast: a browser with the SDK sends its picture in three sizes, and each receiver gets the one that it asks
// for; who knows nothing of sizes gets the largest, and who asks for none the audio alone.
func TestSimulcast(t *testing.T) {
	widths := map[string]int{"r0": 240, "r1": 480, "r2": 960}
	join := newSDKWith(t)
	for _, codec := range []string{"VP8", "H264"} {
		t.Run(codec, func(t *testing.T) {
			channelID := "browser-simulcast-" + codec
			sender := join(channelID, "grace", "sendonly", fmt.Sprintf(
				`{large: true, simulcast: true, videoCodecType: %q, videoBitRate: 1500}`, codec))
			defer sender.leave(t)
			eventually(t, "all sizes are sent", func() error {
				var sent map[string]int
				if err := evaluate(t, sender.tab, "sizes()", &sent); err != nil {
					return err
				}
				if !maps.Equal(sent, widths) {
					return fmt.Errorf("widths %v, want %v", sent, widths)
				}

				return nil
			})
			for rid, width := range map[string]int{"r0": 240, "r1": 480, "r2": 960, "none": 0, "": 960} {
				options := "{}"
				if rid != "" {
					options = fmt.Sprintf(`{simulcast: true, simulcastRequestRid: %q}`, rid)
				}
				receiver := join(channelID, "heidi", "recvonly", options)
				eventually(t, rid+" comes", func() error {
					got := receiver.received(t)
					if now := got[sender.connectionID]["video"].FrameWidth; now != width {
						return fmt.Errorf("a width of %d, want %d", now, width)
					}

					return receiver.audioGoesOn(t, sender.connectionID, nil, got)
				})
				if got := receiver.received(t)[sender.connectionID]["video"]; rid == "none" && got.PacketsReceived > 0 {
					t.Errorf("who asks for no size gets %+v", got)
				}
				receiver.leave(t)
			}
		})
	}
}

// layers are the sizes of what a simulcast sender of 960x540 sends.
var layers = []struct {
	rid   string
	width int
}{{"r0", 240}, {"r1", 480}, {"r2", 960}}

// TestEachReceiverHasItsLayer has receivers of one sender ask for a layer each. They see it in that
// layer's size, and a pause stops exactly its edge: after it, the receiver is back on its layer.
func TestEachReceiverHasItsLayer(t *testing.T) {
	for _, codec := range []string{"VP9", "AV1"} {
		t.Run(codec, func(t *testing.T) {
			channelID := "browser-simulcast-" + codec
			join := newSDKWith(t)
			sender := join(channelID, "sender", "sendonly",
				fmt.Sprintf(`{large: true, simulcast: true, videoCodecType: %q, videoBitRate: 1500}`, codec))
			var receivers []sdkTab
			for _, layer := range layers {
				options := fmt.Sprintf("{simulcast: true, videoCodecType: %q, simulcastRequestRid: %q}", codec, layer.rid)
				receivers = append(receivers, join(channelID, layer.rid, "recvonly", options))
			}
			for i, receiver := range receivers {
				eventually(t, "everybody sees the layer", func() error { return receiver.sees(t, sender, layers[i].width) })
			}

			before := receivers[1].received(t)
			pauseStopsExactly(t, channelID, sender, receivers[0])
			eventually(t, "the others go on", func() error { return receivers[1].goesOn(t, sender.connectionID, before) })
			eventually(t, "it is the layer's", func() error { return receivers[0].sees(t, sender, layers[0].width) })
		})
	}
}

// sees tells whether the tab decodes the sender's video in a width.
func (s sdkTab) sees(t *testing.T, sender sdkTab, width int) error {
	t.Helper()
	video := s.received(t)[sender.connectionID]["video"]
	if video.FrameWidth != width || video.FramesDecoded == 0 {
		return fmt.Errorf("%s: %d wide, want %d: %+v", s.connectionID, video.FrameWidth, width, video)
	}

	return nil
}

// leave has the tab leave its channel, so that it takes up no time of the machine any more.
func (s sdkTab) leave(t *testing.T) {
	t.Helper()
	if err := evaluate(t, s.tab, "leave()", new(any)); err != nil {
		t.Error(err)
	}
}
