//go:build network

package browser

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// networkResult is one JSON line.
type networkResult struct {
	Case   string `json:"case"`
	Server string `json:"server"`
	Run    int    `json:"run"`
	// Down and Up are how long the smallest and the largest picture took, in seconds; 60 and more: it did not come.
	Down      float64 `json:"downSeconds,omitempty"`
	Up        float64 `json:"upSeconds,omitempty"`
	Narrowing quality `json:"narrowing,omitzero"` // the first 3 s after the step down
	Narrow    quality `json:"narrow"`             // from then to the step up
	Widening  quality `json:"widening,omitzero"`  // until 5 s after the largest picture came back
	Load      string  `json:"load"`               // of the machine, before and after
}

// runs is how often everything is measured.
func runs() int {
	if n, err := strconv.Atoi(os.Getenv("RUNS")); err == nil {
		return n
	}

	return 5
}

// networkCase is what is measured of some servers. A run measures each of them once, so that slow minutes meet all.
type networkCase struct {
	name    string
	servers []string
	way     way
	sound   bool // the tab plays the sound, so that the picture has to be in time with it
	measure func(t *testing.T, w *ways, mine *way, v viewer, r *networkResult)
}

var networkCases = []networkCase{
	{"2000-500-2000", []string{"nagi", "livekit"}, way{rate: 2_000_000, delay: 50 * time.Millisecond}, false,
		measureCapacity},
	{"loss-5", []string{"nagi", "livekit"}, way{delay: 26 * time.Millisecond}, false, measureLoss},
	{"clear", []string{"nagi", "livekit"}, way{}, false, measureClear},
	{"clear-sound", []string{"nagi", "livekit", "livekit-synced"}, way{}, true, measureClear},
}

// TestNetwork measures what a receiver on a bad network sees of a simulcast sender, beside LiveKit,
// and prints JSON lines. RUNS is how often, 5 if it is not set.
func TestNetwork(t *testing.T) {
	for run := range runs() {
		for _, c := range networkCases {
			for _, server := range c.servers {
				t.Run(fmt.Sprintf("%s/%s/%d", c.name, server, run), func(t *testing.T) { c.run(t, server, run) })
			}
		}
	}
}

func (c networkCase) run(t *testing.T, server string, run int) {
	w, mine := newWays(t), c.way
	join := joinNagi
	if server != "nagi" {
		join = joinLiveKit(server == "livekit-synced")
	}
	v := join(t, w, &mine, c.sound)
	v.settles(t, 960)
	r := &networkResult{Case: c.name, Server: server, Run: run, Load: load()}
	c.measure(t, w, &mine, v, r)
	r.Load += " " + load()
	printLine(t, r)
}

// pictures are the layers of a synthetic sender, of 150, 450 and 1,200 kbit/s at 25 frames a second
// (hack/clip/make.sh): a browser that encodes takes the processor that the other one decodes with.
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

// joinNagi has a receiver on a way of its own get what a sender sends.
func joinNagi(t *testing.T, w *ways, mine *way, sound bool) viewer {
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
	options := fmt.Sprintf("{simulcast: true, before: () => hear(%t)}", sound)

	return viewer{newSDKOn(t, url)("network", "receiver", "recvonly", options).tab}
}

// measureCapacity: 2 Mbit/s, 500 kbit/s for 20 s, 2 Mbit/s.
func measureCapacity(t *testing.T, w *ways, mine *way, v viewer, r *networkResult) {
	start := v.quality(t)
	w.change(mine, func(mine *way) { mine.rate = 500_000 })
	narrowed := time.Now()
	took, _ := v.seesWithin(t, 240, 3*time.Second)
	time.Sleep(3*time.Second - time.Since(narrowed))
	after := v.quality(t)
	r.Narrowing = after.since(start)
	if after.Width != 240 {
		more, _ := v.seesWithin(t, 240, time.Minute)
		took += more
	}
	r.Down = took.Seconds()
	time.Sleep(20*time.Second - time.Since(narrowed))
	widened := v.quality(t)
	r.Narrow = widened.since(after)
	w.change(mine, func(mine *way) { mine.rate = 2_000_000 })
	took, _ = v.seesWithin(t, 960, time.Minute)
	r.Up = took.Seconds()
	time.Sleep(5 * time.Second)
	r.Widening = v.quality(t).since(widened)
}

// measureLoss: 5 % each way, at a round trip of 52 ms, for 45 s.
func measureLoss(t *testing.T, w *ways, mine *way, v viewer, r *networkResult) {
	w.change(mine, func(mine *way) { mine.loss = 0.05 })
	r.Narrow = v.watch(t, 45*time.Second)
}

// measureClear: nothing is in the way for 30 s.
func measureClear(t *testing.T, _ *ways, _ *way, v viewer, r *networkResult) {
	r.Narrow = v.watch(t, 30*time.Second)
}

// TestNetworkUplink measures how a simulcast sender sends, by transport-wide feedback and by a constant estimate, where
// nothing is in its way and where 1 Mbit/s passes, and prints JSON lines.
func TestNetworkUplink(t *testing.T) {
	measures := map[string]func(*testing.T, string) uplinkResult{"open": measureUplink, "narrow": measureNarrowUplink}
	for run := range runs() {
		for name, measure := range measures {
			for feedback := range feedbacks {
				t.Run(fmt.Sprintf("%s/%s/%d", name, feedback, run), func(t *testing.T) {
					r := measure(t, feedback)
					r.Run = run
					printLine(t, r)
				})
			}
		}
	}
}
