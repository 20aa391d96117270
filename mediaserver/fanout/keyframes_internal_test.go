package fanout

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// A keyframe and a new wish that come while a repetition is about to be sent: the
// wish's own request is out already, and a second one at once would be one too many.
func TestRepetitionYieldsToANewerRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k *keyframes
		sent := make(chan struct{}, 10)
		overtaken := false
		wanted := func(media.Layer) (time.Time, bool) {
			if !overtaken {
				overtaken = true
				k.arrived(0, k.wished(0), false)
				k.ask(media.LayersOf(0), time.Time{}, true)
			}

			return time.Time{}, true
		}
		k = startKeyframes(func(media.Layers) { sent <- struct{}{} }, wanted, &Counters{})
		defer k.close()
		k.ask(media.LayersOf(0), time.Time{}, true)
		time.Sleep(keyframeRetry + time.Millisecond)
		synctest.Wait()
		if len(sent) != 2 {
			t.Errorf("%d requests sent, want the first wish's and the second's", len(sent))
		}
	})
}
