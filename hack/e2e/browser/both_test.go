package browser

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// bothBrowsers are a Firefox and a Chromium before a system whose media is on an address
// that both reach.
type bothBrowsers struct {
	api, signaling string
	openTab        func(url string) context.Context
	firefox        *firefox
}

func startBothBrowsers(t *testing.T) *bothBrowsers {
	t.Helper()
	b := &bothBrowsers{api: "http://127.0.0.1:6000/", signaling: "ws://127.0.0.1:6001/signaling"}
	stop, err := startSystem(b.api, "--media-listen="+publicAddress+":6004", "--signaling-listen=127.0.0.1:6001",
		"--shim-listen=127.0.0.1:6000", "--manager-listen=127.0.0.1:6002", "--manager-metrics-listen=127.0.0.1:0",
		"--shim-metrics-listen=127.0.0.1:0", "--mediaserver-metrics-listen=127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stopping nagi: %v", err)
		}
	})
	b.openTab, b.firefox = newBrowser(t), newFirefox(t)

	return b
}

// party is a tab of either that has joined a channel.
type party struct {
	id       string
	evaluate func(expression string, result any) error
}

func (b *bothBrowsers) firefoxJoins(t *testing.T, version, channelID, options string) party {
	t.Helper()
	tab := b.firefox.open(t, serveSDK(t, version))

	return b.join(t, tab.evaluate, channelID, "firefox", "sendrecv", options)
}

func (b *bothBrowsers) chromiumJoins(t *testing.T, version, channelID, role, options string) party {
	t.Helper()
	tab := b.openTab(serveSDK(t, version))
	run := func(expression string, result any) error { return evaluate(t, tab, expression, result) }

	return b.join(t, run, channelID, "chromium", role, options)
}

func (b *bothBrowsers) join(
	t *testing.T, run func(string, any) error, channelID, clientID, role, options string,
) party {
	t.Helper()
	p := party{evaluate: run}
	eventually(t, "the SDK is loaded", func() error {
		var ready bool
		if err := run("window.ready", &ready); err != nil || !ready {
			return fmt.Errorf("not loaded: %w", err)
		}

		return nil
	})
	join := fmt.Sprintf("join(%q, %q, %q, %q, %s)", b.signaling, channelID, clientID, role, options)
	if err := run(join, &p.id); err != nil {
		t.Fatalf("%s cannot join: %v", clientID, err)
	}

	return p
}

func (p party) received(t *testing.T, sender party) (video, audio inbound) {
	t.Helper()
	var all map[string]map[string]inbound
	if err := p.evaluate("received()", &all); err != nil {
		t.Fatal(err)
	}

	return all[sender.id]["video"], all[sender.id]["audio"]
}

// goesOn waits for so many frames and packets of audio of a sender.
func (p party) goesOn(t *testing.T, sender party, frames, packets int) func() error {
	return func() error {
		t.Helper()
		video, audio := p.received(t, sender)
		if video.FramesDecoded < frames || audio.PacketsReceived < packets {
			return fmt.Errorf("of %s: video %+v, audio %+v", sender.id, video, audio)
		}

		return nil
	}
}

// told waits until the last notice of an event is about somebody.
func (p party) told(event, field string, about party) func() error {
	return func() error {
		var told []map[string]any
		if err := p.evaluate(fmt.Sprintf("notified(%q)", event), &told); err != nil {
			return err
		}
		if len(told) == 0 || told[len(told)-1][field] != about.id {
			return fmt.Errorf("told %s: %v", event, told)
		}

		return nil
	}
}

func (p party) leave(t *testing.T) {
	t.Helper()
	if err := p.evaluate("leave()", new(any)); err != nil {
		t.Fatal(err)
	}
}

// pauseStopsExactly pauses what a receiver sees of a sender, and resumes it.
func (b *bothBrowsers) pauseStopsExactly(t *testing.T, channelID string, receiver, sender party) {
	t.Helper()
	recoversWithinASecond(t, func() time.Duration { return b.pauseAndResume(t, channelID, receiver, sender) })
}

func (b *bothBrowsers) pauseAndResume(t *testing.T, channelID string, receiver, sender party) (took time.Duration) {
	t.Helper()
	edge := map[string]string{"channel_id": channelID, "recv_connection_id": receiver.id, "send_connection_id": sender.id}
	if err := callAt(b.api, "Sora_20200401.PauseRtpStream", edge, new(map[string]string)); err != nil {
		t.Fatal(err)
	}
	last := -1
	eventually(t, "the picture stands still", func() error {
		video, _ := receiver.received(t, sender)
		if frames := video.FramesDecoded; frames != last {
			last = frames

			return fmt.Errorf("%d frames decoded", frames)
		}

		return nil
	})
	_, audio := receiver.received(t, sender)
	eventually(t, "its sound goes on", receiver.goesOn(t, sender, 0, audio.PacketsReceived+100))
	if sends, _ := sender.received(t, receiver); sends.FramesDecoded > 0 {
		eventually(t, "the other way goes on", sender.goesOn(t, receiver, sends.FramesDecoded+30, 0))
	}
	if video, _ := receiver.received(t, sender); video.FramesDecoded != last {
		t.Errorf("%d frames of the paused video were decoded", video.FramesDecoded-last)
	}
	resumed := time.Now()
	if err := callAt(b.api, "Sora_20200401.ResumeRtpStream", edge, new(map[string]string)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the picture moves again", receiver.goesOn(t, sender, last+1, 0))
	took = time.Since(resumed)
	eventually(t, "it goes on", receiver.goesOn(t, sender, last+30, 0))

	return took
}
