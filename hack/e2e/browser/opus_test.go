package browser

import (
	"fmt"
	"slices"
	"testing"
)

// TestOpusIsWhatConnectAskedFor: stereo unless a client says otherwise, and the rate
// that it names. Both are seen in what the browser sends.
func TestOpusIsWhatConnectAskedFor(t *testing.T) {
	const packetsPerSecond = 50
	join := newSDKWith(t)
	for name, c := range map[string]struct {
		options     string
		channels    int
		least, most int // kbit/s
	}{
		"default":         {`{video: false}`, 2, 52, 72},
		"mono":            {`{video: false, audioOpusParamsStereo: false, audioOpusParamsSpropStereo: false}`, 1, 22, 38},
		"one channel":     {`{video: false, audioOpusParamsChannels: 1}`, 1, 22, 38},
		"16 kbit/s, mono": {`{video: false, audioBitRate: 16, audioOpusParamsStereo: false}`, 1, 9, 20},
		"48 kbit/s":       {`{video: false, audioBitRate: 48}`, 2, 33, 56},
		"256 kbit/s":      {`{video: false, audioBitRate: 256}`, 2, 220, 290},
	} {
		t.Run(name, func(t *testing.T) {
			tab := join("browser-opus", name, "sendonly", c.options)
			var sent struct {
				Packets, Bytes int
				Channels       []int
			}
			eventually(t, "two seconds of audio have been sent", func() error {
				if err := evaluate(t, tab.tab, "sentAudio()", &sent); err != nil {
					return err
				}
				if sent.Packets < 2*packetsPerSecond {
					return fmt.Errorf("%d packets", sent.Packets)
				}

				return nil
			})
			if !slices.Equal(sent.Channels, []int{c.channels}) {
				t.Errorf("packets with %v channels, want %d", sent.Channels, c.channels)
			}
			kbitPerSecond := sent.Bytes * 8 * packetsPerSecond / sent.Packets / 1000
			t.Logf("%d kbit/s", kbitPerSecond)
			if kbitPerSecond < c.least || kbitPerSecond > c.most {
				t.Errorf("%d kbit/s, want %d to %d", kbitPerSecond, c.least, c.most)
			}
		})
	}
}
