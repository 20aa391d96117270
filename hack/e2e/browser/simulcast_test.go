package browser

import (
	"fmt"
	"maps"
	"testing"
)

// TestSimulcast: a browser with the SDK sends its picture in three sizes, and each receiver gets the one that it asks
// for; who asks for none gets the audio alone.
func TestSimulcast(t *testing.T) {
	const channelID = "browser-simulcast"
	join := newSDKWith(t)
	sender := join(channelID, "grace", "sendonly", `{large: true, simulcast: true, videoCodecType: "VP8", videoBitRate: 1500}`)
	eventually(t, "all sizes are sent", func() error {
		var sent map[string]int
		if err := evaluate(t, sender.tab, "sizes()", &sent); err != nil {
			return err
		}
		if want := map[string]int{"r0": 240, "r1": 480, "r2": 960}; !maps.Equal(sent, want) {
			return fmt.Errorf("widths %v, want %v", sent, want)
		}

		return nil
	})

	receivers := make(map[string]sdkTab)
	for _, rid := range []string{"r0", "r1", "r2", "none"} {
		receivers[rid] = join(channelID, rid, "recvonly", fmt.Sprintf(`{simulcast: true, simulcastRequestRid: %q}`, rid))
	}
	for rid, width := range map[string]int{"r0": 240, "r1": 480, "r2": 960} {
		eventually(t, rid+" comes", func() error {
			if got := receivers[rid].received(t)[sender.connectionID]["video"]; got.FrameWidth != width {
				return fmt.Errorf("%s gets %+v, want a width of %d", rid, got, width)
			}

			return receivers[rid].goesOn(t, sender.connectionID, nil)
		})
	}
	eventually(t, "who asks for no size gets the audio", func() error {
		return receivers["none"].audioGoesOn(t, sender.connectionID, nil, receivers["none"].received(t))
	})
	if got := receivers["none"].received(t)[sender.connectionID]["video"]; got.PacketsReceived > 0 {
		t.Errorf("who asks for no size gets %+v", got)
	}
}

// layers are the sizes of what a simulcast sender of 960x540 sends.
var layers = []struct {
	rid   string
	width int
}{{"r0", 240}, {"r1", 480}, {"r2", 960}}

// TestEachReceiverHasItsLayer has receivers of one sender ask for a layer each. They see it in that layer's size, and a pause
// stops exactly its edge: after it, the receiver is back on its layer.
func TestEachReceiverHasItsLayer(t *testing.T) {
	for _, codec := range []string{"VP9", "AV1"} {
		t.Run(codec, func(t *testing.T) {
			channelID := "browser-simulcast-" + codec
			join := newSDKWith(t)
			sender := join(channelID, "sender", "sendonly", fmt.Sprintf(`{large: true, simulcast: true, videoCodecType: %q, videoBitRate: 1500}`, codec))
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
