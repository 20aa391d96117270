package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// showInterval is the time between two looks at the counters.
const showInterval = time.Second

// headingInterval is how many looks apart the heading is repeated where nothing
// is drawn over.
const headingInterval = 20

// show prints what each bot receives, once per second, until ctx ends: on a
// screen always in the same place, elsewhere line after line.
func (s *system) show(ctx context.Context, out *os.File) error {
	redraw := isTerminal(out)
	ticker := time.NewTicker(showInterval)
	defer ticker.Stop()
	rates := newRates()
	drawn := 0
	for looks := 0; ; looks++ {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			lines := rates.lines(s.bots, now)
			text := strings.Join(lines, "")
			switch {
			case redraw:
				text = overdraw(drawn, lines)
			case looks%headingInterval != 0 && len(lines) == drawn && drawn > 0:
				// Nobody came or left: the heading is still in sight.
				text = strings.Join(lines[1:], "")
			}
			if _, err := out.WriteString(text); err != nil {
				return fmt.Errorf("print what arrives: %w", err)
			}
			drawn = len(lines)
		}
	}
}

// overdraw goes up over the lines drawn last (CUU of ECMA-48), clears each line
// before writing it (EL), and clears what is left below (ED).
func overdraw(drawn int, lines []string) string {
	var text strings.Builder
	if drawn > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", drawn)
	}
	for _, line := range lines {
		text.WriteString("\r\x1b[2K" + line)
	}
	text.WriteString("\x1b[J")

	return text.String()
}

// rates turns counters into what happened since the last look.
type rates struct {
	last map[rateKey]bot.Stream
	at   time.Time
}

type rateKey struct {
	receiver, sender string
	kind             bot.Kind
}

func newRates() *rates { return &rates{last: map[rateKey]bot.Stream{}, at: time.Now()} }

const (
	headingFormat = "%-10s %-28s %15s %15s %10s %7s\n"
	rowFormat     = "%-10s %-28s %15.0f %15.0f %10.0f %7d%s\n"
)

// lines are a heading, and a row for each sender that a bot receives.
func (r *rates) lines(bots []*bot.Bot, now time.Time) []string {
	seconds := now.Sub(r.at).Seconds()
	names := map[string]string{}
	for _, b := range bots {
		names[b.ConnectionID()] = b.ClientID()
	}
	next := map[rateKey]bot.Stream{}
	var rows []string
	for _, b := range bots {
		// A sender's streams come one after the other.
		var current *row
		for _, stream := range b.Streams() {
			if stream.Gone {
				continue
			}
			if current == nil || current.sender != stream.SenderConnectionID {
				rows = current.appendTo(rows)
				current = &row{receiver: b.ClientID(), sender: stream.SenderConnectionID, name: names[stream.SenderConnectionID]}
			}
			key := rateKey{b.ConnectionID(), stream.SenderConnectionID, stream.Kind}
			current.add(r.last[key], stream, seconds)
			next[key] = stream
		}
		rows = current.appendTo(rows)
	}
	r.last, r.at = next, now
	if len(rows) == 0 {
		return nil
	}
	heading := fmt.Sprintf(headingFormat, "receiver", "sender", "video packets/s", "audio packets/s", "frames/s", "width")

	return append([]string{heading}, rows...)
}

// row is what one bot got from one sender, per second.
type row struct {
	receiver, sender, name string
	video, audio, frames   float64
	width                  int // of the picture
	paused                 []string
}

func (r *row) add(before, now bot.Stream, seconds float64) {
	packets := float64(now.Packets-before.Packets) / seconds
	switch now.Kind {
	case bot.Video:
		r.video = packets
		r.frames = float64(now.Frames-before.Frames) / seconds
		r.width = now.Width
	case bot.Audio:
		r.audio = packets
	}
	if now.Paused {
		r.paused = append(r.paused, string(now.Kind))
	}
}

func (r *row) appendTo(rows []string) []string {
	if r == nil {
		return rows
	}
	name, mark := r.name, ""
	if name == "" {
		name = r.sender
	}
	if len(r.paused) > 0 {
		mark = "   " + strings.Join(r.paused, " and ") + " paused"
	}

	return append(rows, fmt.Sprintf(rowFormat, r.receiver, name, r.video, r.audio, r.frames, r.width, mark))
}
