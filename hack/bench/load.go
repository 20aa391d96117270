//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// loadConfig tells a process of clients what to do: its first line of input.
type loadConfig struct {
	Protocol   string
	Address    string
	Senders    int
	Receivers  int
	Paused     int // The last ones of the receivers.
	Conference bool
	Feeds      int // Senders in the channel that the receivers receive.
	Frame      []int
	Layers     [][]int // Frames of a simulcast sender.
	FPS        int
	Audio      bool
	Speakers   int  // In a spotlight channel, how many of the senders speak; 0: it is none.
	BothCores  bool // The clients run wherever there is room, not on the load's core.
	Sink       bool // Receivers count RTP without opening it.
	Silent     bool // Receivers report nothing.
	Voice      bool // Audio beside the video.
}

// joined is the first line of output.
type joined struct{ SRTPProfiles []string }

// statistics is what a process of clients has counted since it began.
type statistics struct {
	Sent, Received, PausedReceived uint64
	Silent                         uint64 // Sent by who does not speak in a spotlight channel.
	KeyframeRequests               uint64
	Feedback                       uint64 // Datagrams of it that receivers have sent.
	Streams                        int    // Unpaused streams that carried a packet.
	Delays                         []uint64
}

const channelID = "bench"

// participant is what one client does, and where it counts.
type participant struct {
	loadConfig
	index     int
	source    *source   // nil: sends nothing.
	layers    []*source // Simulcast beside source, the smallest first.
	received  *counter  // nil: receives nothing.
	feeds     []int     // Senders that it receives, by index.
	paused    bool
	lifetime  context.Context //nolint:containedctx // A client outlives the call that joins it.
	keyframes *atomic.Uint64
	profiles  *profiles
	voice     *source // Audio beside the video of source; nil: none.
	probe     *probe  // Sees every packet and keyframe request; nil: they are only counted.
}

// sources are what the participant sends.
func (p participant) sources() []*source {
	switch {
	case len(p.layers) > 0:
		return p.layers
	case p.source != nil:
		return []*source{p.source}
	}

	return nil
}

func (p participant) name() string {
	switch {
	case p.source != nil:
		return fmt.Sprintf("sender-%d", p.index)
	case p.paused:
		return pausedClientID(p.index)
	}

	return fmt.Sprintf("receiver-%d", p.index)
}

func pausedClientID(index int) string { return fmt.Sprintf("paused-%d", index) }

// load is the whole of a process of clients: it joins them, says so, and then
// obeys one word per line. Its clients die with it.
func load(ctx context.Context, input io.Reader, output io.Writer) error {
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return fmt.Errorf("read what to do: %w", lines.Err())
	}
	var config loadConfig
	if err := json.Unmarshal(lines.Bytes(), &config); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	crowd := newCrowd(ctx, config)
	if err := crowd.join(ctx); err != nil {
		return err
	}
	answers := json.NewEncoder(output)
	if err := answers.Encode(joined{SRTPProfiles: crowd.profiles.list()}); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	for lines.Scan() {
		var answer any = "done"
		switch lines.Text() {
		case "start":
			crowd.start()
		case "stop":
			crowd.stop()
		case "drain":
			if err := crowd.live.sinks.drain(); err != nil {
				return err
			}
		case "statistics":
			answer = crowd.statistics()
		}
		if err := answers.Encode(answer); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}

	return lines.Err()
}

// crowd is all clients of one process.
type crowd struct {
	participants     []participant
	live, paused     counter
	keyframeRequests atomic.Uint64
	profiles         profiles
	stopSending      func()
}

func newCrowd(ctx context.Context, config loadConfig) *crowd {
	c := &crowd{}
	for i := range config.Senders {
		p := participant{loadConfig: config, index: i, lifetime: ctx, keyframes: &c.keyframeRequests, profiles: &c.profiles}
		for _, frame := range config.Layers {
			config.Frame = frame
			p.layers = append(p.layers, newSource(config))
		}
		if p.source = newSource(config); len(p.layers) > 0 {
			p.source = p.layers[0]
		}
		if config.Conference {
			p.received = &c.live
			for feed := range config.Senders {
				if feed != i {
					p.feeds = append(p.feeds, feed)
				}
			}
		}
		c.participants = append(c.participants, p)
	}
	for i := range config.Receivers {
		p := participant{
			loadConfig: config,
			index:      i,
			received:   &c.live,
			lifetime:   ctx,
			profiles:   &c.profiles,
			paused:     i >= config.Receivers-config.Paused,
		}
		if p.paused {
			p.received = &c.paused
		}
		for feed := range config.Feeds {
			p.feeds = append(p.feeds, feed)
		}
		c.participants = append(c.participants, p)
	}

	return c
}

// join lets up to ten clients join at a time: in a conference, all of them,
// since some wait for the others.
func (c *crowd) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(10)
	for _, p := range c.participants {
		group.Go(func() error {
			join := map[string]func(context.Context, participant) error{
				"sora": joinSora, "livekit": joinLiveKit, "janus": joinJanus, "plain": joinPlain,
			}[p.Protocol]
			if err := join(ctx, p); err != nil {
				return fmt.Errorf("%s joins: %w", p.name(), err)
			}

			return nil
		})
	}

	return group.Wait()
}

func (c *crowd) start() {
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	for i, p := range c.participants {
		if p.source != nil {
			// Spread over the frame, as senders that know nothing of each other are.
			delay := time.Second / time.Duration(p.FPS) * time.Duration(i) / time.Duration(len(c.participants))
			for _, s := range p.sources() {
				group.Go(func() error { return s.run(ctx, delay) })
			}
		}
	}
	c.stopSending = func() {
		cancel()
		_ = group.Wait() // A failed write is a lost packet, and told as such.
	}
}

func (c *crowd) stop() {
	if c.stopSending != nil {
		c.stopSending()
		c.stopSending = nil
	}
}

func (c *crowd) statistics() statistics {
	s := statistics{
		Received: c.live.packets.Load() + c.live.sinks.drained(), PausedReceived: c.paused.packets.Load(),
		Streams: int(c.live.streams.Load()), KeyframeRequests: c.keyframeRequests.Load(),
		Feedback: c.live.feedback.Load() + c.paused.feedback.Load(),
		Delays:   c.live.delays.counts(),
	}
	for _, p := range c.participants {
		for _, source := range p.sources() {
			if p.Speakers > 0 && p.index >= p.Speakers {
				s.Silent += source.sent.Load()
			} else {
				s.Sent += source.sent.Load()
			}
		}
	}

	return s
}

// counter counts what arrives on any number of streams.
type counter struct {
	packets  atomic.Uint64
	streams  atomic.Int64
	feedback atomic.Uint64 // datagrams of it that were sent
	delays   delays
	sinks    sinks
}

// count reads packets until the stream ends.
func (c *counter) count(a *arrivals, read func([]byte) (int, error)) {
	buffer := make([]byte, 1500)
	seen := false
	for {
		n, err := read(buffer)
		if err != nil {
			return
		}
		payload := payloadOf(buffer[:n])
		if len(payload) == 0 {
			continue
		}
		c.packets.Add(1)
		if at := a.of(buffer[:n]); at != 0 && len(payload) >= sendTimeFromEnd {
			c.delays.add(at - sendTime(payload))
		}
		if !seen {
			seen = true
			c.streams.Add(1)
		}
	}
}

// payloadOf is empty for the padding that some servers send to probe: it was
// never forwarded.
func payloadOf(packet []byte) []byte {
	if len(packet) < 12 {
		return nil
	}
	header := 12 + 4*int(packet[0]&0x0f)
	if packet[0]&0x10 != 0 && len(packet) >= header+4 {
		header += 4 + 4*(int(packet[header+2])<<8|int(packet[header+3]))
	}
	padding := 0
	if packet[0]&0x20 != 0 {
		padding = int(packet[len(packet)-1])
	}
	if len(packet) < header+padding {
		return nil
	}

	return packet[header : len(packet)-padding]
}
