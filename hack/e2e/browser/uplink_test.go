package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"testing"
)

// uplinkResult is one JSON line: how a browser sends a picture in three sizes, by what it is told of its way.
type uplinkResult struct {
	Case     string `json:"case"`
	Feedback string `json:"feedback"`
	Run      int    `json:"run"`
	// LargestSeconds is when the first picture of the largest size left, from when the browser was connected; 0: in 5 s
	// none did. Keyframes are those of all sizes in these 5 s.
	LargestSeconds float64  `json:"largestSeconds"`
	Keyframes      int      `json:"keyframes"`
	AtFirst        *passing `json:"atFirst,omitempty"` // what came to the narrow way, and what of it passed
	Later          *passing `json:"later,omitempty"`   // the same, once the browser had found its rate
	Load           string   `json:"load"`              // of the machine, before and after
}

// The ways in which a sender learns how much it may send, and what makes a tab one that learns it so.
const (
	transportWide = "transport-cc"
	remb          = "remb"
)

var feedbacks = map[string]string{transportWide: "", remb: ", before: forgoTransportCC"}

// joinUplink has a browser send a picture in three sizes to a media server.
func joinUplink(t *testing.T, signaling, feedback, options string) sdkTab {
	t.Helper()
	options = "{large: true, simulcast: true, videoCodecType: 'VP8'" + options + feedbacks[feedback] + "}"

	return newSDKOn(t, "ws://"+signaling+"/signaling")(t.Name(), "grace", "sendonly", options)
}

// measureUplink is how the browser begins where nothing is in its way.
func measureUplink(t *testing.T, feedback string) uplinkResult {
	t.Helper()
	r := uplinkResult{Case: "uplink", Feedback: feedback, Load: load()}
	signaling, _ := startMediaServer(t, "127.0.0.1")
	r.begins(t, joinUplink(t, signaling, feedback, ""))

	return r
}

// measureNarrowUplink has it send noise, which takes up whatever there is, where 1 Mbit/s passes.
func measureNarrowUplink(t *testing.T, feedback string) uplinkResult {
	t.Helper()
	r := uplinkResult{Case: "uplink-1000", Feedback: feedback, Load: load()}
	b := newBottleneck(t)
	signaling, media := startMediaServer(t, b.inside.LocalAddr().String())
	b.serve(fmt.Sprint("127.0.0.1:", regexp.MustCompile(`\d+$`).FindString(media)))
	sender := joinUplink(t, signaling, feedback, ", snow: true")
	r.AtFirst, r.Later = b.watch(t)
	r.begins(t, sender)
	t.Logf("by %s %v; at first %v", feedback, r.Later, r.AtFirst)

	return r
}

// begins adds how the tab began.
func (r *uplinkResult) begins(t *testing.T, sender sdkTab) {
	t.Helper()
	if err := evaluate(t, sender.tab, "beginning()", r); err != nil {
		t.Fatal(err)
	}
	r.Load += " " + load()
}

// TestUplinkFeedback: by transport-wide feedback a browser that sends a picture in three sizes has the largest under
// way within a second of its connection, with few keyframes, and sends no more than what passes where 1 Mbit/s does.
// One that is told a constant estimate instead, as who does not know that feedback is, floods such a way: so this test
// sees a flood.
func TestUplinkFeedback(t *testing.T) {
	const seconds, keyframes, most, flooded = 1, 12, 0.05, 0.2
	t.Run("begins", func(t *testing.T) {
		var runs []uplinkResult
		for run := range 3 { // The browser's encoders share a small machine: one of three times is enough.
			if !t.Run(fmt.Sprint(run), func(t *testing.T) { runs = append(runs, measureUplink(t, transportWide)) }) {
				return
			}
			r := runs[run]
			printLine(t, r)
			if r.LargestSeconds > 0 && r.LargestSeconds <= seconds && r.Keyframes <= keyframes {
				return
			}
		}
		t.Errorf("%+v, want the largest size within %d s and %d keyframes", runs, seconds, keyframes)
	})
	t.Run("narrow", func(t *testing.T) {
		r := measureNarrowUplink(t, transportWide)
		printLine(t, r)
		if r.Later.lost() > most {
			t.Errorf("%.1f %% of the packets are lost", 100*r.Later.lost())
		}
	})
	t.Run("narrow without", func(t *testing.T) {
		r := measureNarrowUplink(t, remb)
		printLine(t, r)
		if r.Later.lost() < flooded {
			t.Errorf("only %.1f %% of the packets are lost by a constant estimate", 100*r.Later.lost())
		}
	})
}

// printLine prints a result.
func printLine(t *testing.T, result any) {
	t.Helper()
	line, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(line))
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")

	return regexp.MustCompile(`^\S+`).FindString(string(text))
}
