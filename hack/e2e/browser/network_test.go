//go:build network

package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// quality is what a tab tells of one sender's stream, since the tab came.
type quality struct {
	Width         int     `json:"width"`
	Decoded       int     `json:"decoded"`
	Freezes       int     `json:"freezes"`
	FrozenSeconds float64 `json:"frozenSeconds"`
	BufferSeconds float64 `json:"bufferSeconds"`
	AudioReceived int     `json:"audioReceived"`
	AudioLost     int     `json:"audioLost"`
}

func (s sdkTab) quality(t *testing.T) (q quality) {
	t.Helper()
	if err := evaluate(t, s.tab, "quality()", &q); err != nil {
		t.Fatal(err)
	}

	return q
}

// since is what has happened since an earlier look.
func (q quality) since(before quality) quality {
	q.Decoded -= before.Decoded
	q.Freezes -= before.Freezes
	q.FrozenSeconds -= before.FrozenSeconds
	q.AudioReceived -= before.AudioReceived
	q.AudioLost -= before.AudioLost

	return q
}

// seesWithin is how long it takes until a picture of the width comes, and ok whether it comes.
func (s sdkTab) seesWithin(t *testing.T, width int, most time.Duration) (took time.Duration, ok bool) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) { // It is sampled.
		switch took = time.Since(begin); {
		case s.quality(t).Width == width:
			return took, true
		case took > most:
			return took, false
		}
	}
}

// watch gives what comes in a while.
func (s sdkTab) watch(t *testing.T, while time.Duration) quality {
	t.Helper()
	before := s.quality(t)
	time.Sleep(while) // It is what is measured.

	return s.quality(t).since(before)
}

// networkResult is one JSON line.
type networkResult struct {
	Case string `json:"case"`
	Run  int    `json:"run"`
	// Down and Up are how long the smallest and the largest picture took, in seconds; 60 and more: it did not come.
	Down      float64 `json:"downSeconds,omitempty"`
	Up        float64 `json:"upSeconds,omitempty"`
	Narrowing quality `json:"narrowing,omitzero"` // the first 3 s after the step down
	Narrow    quality `json:"narrow"`             // from then to the step up
	Widening  quality `json:"widening,omitzero"`  // until 5 s after the largest picture came back
	Load      string  `json:"load"`               // of the machine, before and after
}

func (r *networkResult) print(t *testing.T) {
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(line))
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")

	return regexp.MustCompile(`^\S+`).FindString(string(text))
}

// TestNetwork measures what a receiver on a bad network sees of a simulcast sender, and prints JSON lines. RUNS is how
// often, 5 if it is not set.
func TestNetwork(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv("RUNS"))
	if err != nil {
		runs = 5
	}
	for run := range runs {
		t.Run(fmt.Sprint("capacity/", run), func(t *testing.T) { measureCapacity(t, run) })
		t.Run(fmt.Sprint("loss/", run), func(t *testing.T) { measureLoss(t, run) })
	}
}

// pictures are the layers of a synthetic sender, of 150, 450 and 1,200 kbit/s at 25 frames a second (hack/clip/make.sh):
// a browser that encodes takes the processor that the other one decodes with.
func pictures(t *testing.T) (layers [][]byte) {
	t.Helper()
	for _, rid := range []string{"r0", "r1", "r2"} {
		file, err := os.ReadFile("clip/" + rid + ".ivf")
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, file)
	}

	return layers
}

// newNetwork has a receiver on a way of its own see the largest picture of a sender.
func newNetwork(t *testing.T, mine *way) (*ways, sdkTab) {
	w := newWays(t)
	signaling, media := startMediaServer(t, w.inside.LocalAddr().String())
	w.serve(fmt.Sprint("127.0.0.1:", regexp.MustCompile(`\d+$`).FindString(media)))
	url := "ws://" + signaling + "/signaling"
	sender, err := bot.Join(t.Context(), bot.Config{
		URL: url, ChannelID: "network", Role: bot.SendOnly, Simulcast: true, Video: pictures(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Drop)
	w.newcomers(mine)
	receiver := newSDKOn(t, url)("network", "receiver", "recvonly", `{simulcast: true}`)
	eventually(t, "the large picture comes", func() error {
		return receiver.sees(t, sdkTab{connectionID: sender.ConnectionID()}, 960)
	})
	time.Sleep(10 * time.Second) // The receiver's estimate begins after 5 s.

	return w, receiver
}

// measureCapacity: 2 Mbit/s, 500 kbit/s for 20 s, 2 Mbit/s.
func measureCapacity(t *testing.T, run int) {
	mine := &way{rate: 2_000_000, delay: 50 * time.Millisecond}
	w, receiver := newNetwork(t, mine)
	r := &networkResult{Case: "2000-500-2000", Run: run, Load: load()}
	start := receiver.quality(t)
	w.change(mine, func(mine *way) { mine.rate = 500_000 })
	narrowed := time.Now()
	took, _ := receiver.seesWithin(t, 240, 3*time.Second)
	time.Sleep(3*time.Second - time.Since(narrowed))
	after := receiver.quality(t)
	r.Narrowing = after.since(start)
	if after.Width != 240 {
		more, _ := receiver.seesWithin(t, 240, time.Minute)
		took += more
	}
	r.Down = took.Seconds()
	time.Sleep(20*time.Second - time.Since(narrowed))
	widened := receiver.quality(t)
	r.Narrow = widened.since(after)
	w.change(mine, func(mine *way) { mine.rate = 2_000_000 })
	took, _ = receiver.seesWithin(t, 960, time.Minute)
	r.Up = took.Seconds()
	time.Sleep(5 * time.Second)
	r.Widening = receiver.quality(t).since(widened)
	r.Load += " " + load()
	r.print(t)
}

// measureLoss: 5 % each way, at a round trip of 52 ms, for 45 s.
func measureLoss(t *testing.T, run int) {
	mine := &way{delay: 26 * time.Millisecond}
	w, receiver := newNetwork(t, mine)
	r := &networkResult{Case: "loss-5", Run: run, Load: load()}
	w.change(mine, func(mine *way) { mine.loss = 0.05 })
	r.Narrow = receiver.watch(t, 45*time.Second)
	r.Load += " " + load()
	r.print(t)
}
