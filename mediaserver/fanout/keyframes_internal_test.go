package fanout

import (
	"slices"
	"sync"
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

// asks are wishes for keyframes of a sender that answers requests for its layers 0 and 1 at once.
type asks struct {
	*keyframes

	mu     sync.Mutex
	begin  time.Time
	silent bool // it does not answer for layer 0
	waits  bool // somebody waits
	sent   []int64
}

// at waits until so many milliseconds after the beginning.
func (a *asks) at(milliseconds int64) {
	time.Sleep(time.Until(a.begin.Add(time.Duration(milliseconds) * time.Millisecond)))
	synctest.Wait()
}

func (a *asks) wish(layer media.Layer, start bool) {
	a.ask(media.LayersOf(layer), time.Time{}, start)
}

// request notes requests for layer 0, in milliseconds since the beginning.
func (a *asks) request(layers media.Layers) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if layers.Has(0) {
		a.sent = append(a.sent, time.Since(a.begin).Milliseconds())
	}
	for layer := range media.Layer(2) {
		if layers.Has(layer) && (layer > 0 || !a.silent) {
			a.arrived(layer, a.wished(layer), false)
		}
	}
}

// What is kept of a sender's budget for those whose stream begins goes to nobody else: not to a wish that was put off,
// nor to the repetition of a request for a start, nor to the next wish after a start that is over. After three requests
// of those who cannot go on there are two left for starts at once, and one in a second for others; each case begins
// there. A start on another layer, at 800 ms, makes others wait a second longer.
func TestWhatIsKeptForStarts(t *testing.T) {
	for name, test := range map[string]struct {
		act  func(a *asks) // from 400 ms to 800 ms
		want []int64       // up to 2,500 ms
	}{
		"a wish that was put off": {func(a *asks) {
			a.at(600)
			a.wish(0, false)
		}, []int64{2000}},
		"a start": {func(a *asks) {
			a.at(600)
			a.wish(0, true)
		}, []int64{600}},
		"a start's repetition": {func(a *asks) {
			a.at(600)
			a.silent = true
			a.wish(0, true)
		}, []int64{600}},
		"after a start that a keyframe served": {func(a *asks) {
			a.at(500)
			a.wish(0, true) // put off until 600 ms
			a.arrived(0, a.wished(0), false)
			a.at(600)
			a.wish(0, false)
		}, []int64{2000}},
		"after a start that was given up": {func(a *asks) {
			a.at(500)
			a.waits = false
			a.wish(0, true) // put off until 600 ms
			a.at(650)
			a.waits = true
			a.wish(0, false)
		}, []int64{2000}},
		"a start that waits, and others": {func(a *asks) {
			a.at(500)
			a.ask(media.LayersOf(0), a.begin.Add(1500*time.Millisecond), true)
			a.wish(0, false) // until 1,000 ms
		}, []int64{1000}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &asks{begin: time.Now(), waits: true}
				a.keyframes = startKeyframes(a.request, func(media.Layer) (time.Time, bool) { return time.Time{}, a.waits },
					&Counters{})
				defer a.close()
				for _, at := range []int64{0, 200, 400} {
					a.at(at)
					a.wish(0, false)
				}
				if want := []int64{0, 200, 400}; !slices.Equal(a.sent, want) {
					t.Fatalf("asked at %v ms, want %v", a.sent, want)
				}
				a.sent = nil
				test.act(a)
				a.at(800)
				a.wish(1, true)
				a.at(2500)
				if !slices.Equal(a.sent, test.want) {
					t.Errorf("asked at %v ms, want %v", a.sent, test.want)
				}
			})
		})
	}
}
