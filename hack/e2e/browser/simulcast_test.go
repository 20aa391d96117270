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
