package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// load is a steady load of pausing, editing and resuming: as many channels as media
// servers, each with an edge that objects pause, one that HTTP requests pause, one that
// stays paused, and one that is never paused, all from one sender. It knows at any
// time what was asked for last, what was said of it, and what came.
type load struct {
	system   *system
	witness  *witness
	channels []string
	lanes    []*lane // Those that stay paused too.
	kept     []*lane
	guests   []*guest

	// running is what runs until the test ends, and until is its context.
	running sync.WaitGroup
	until   context.Context

	// gate is held, to read, while something is asked for, so that whoever writes
	// finds everything asked for and nothing being asked for.
	gate sync.RWMutex

	mu       sync.Mutex
	ways     ways
	problem  map[string]error // The last of each lane, for people.
	silences map[string][]silence
	heard    verdict // What lists said too much.
}

// ways are where the programs are now.
type ways struct {
	views     []forwardingv1.ViewClient
	shims     []string // URLs.
	signaling []string // URLs, by media server.
}

// newLoad has all clients join and pauses what stays paused. What it runs ends with
// the test.
func newLoad(t *testing.T, s *system) *load {
	t.Helper()
	l := &load{
		system: s, witness: newWitness(s.api), problem: map[string]error{}, silences: map[string][]silence{},
	}
	l.look()
	var cancel context.CancelFunc
	l.until, cancel = context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		l.running.Wait()
	})
	l.running.Go(func() { l.witness.run(l.until) })
	for i := range s.mediaServers {
		l.addChannel(fmt.Sprintf("channel-%d", i))
	}
	for _, r := range l.guests {
		l.running.Go(func() { r.run(l.until) })
	}
	for _, r := range l.guests {
		await(t, r.clientID+" to join "+r.channel, func() (*member, bool) {
			here := r.here()

			return here, here != nil
		})
	}
	for _, kept := range l.kept {
		kept.ask(l.until, kept.create)
		kept.awaitSaid(l.until)
	}

	return l
}

// begin has the pausing, editing, resuming and listing begin.
func (l *load) begin() {
	for i, lane := range l.lanes {
		if !slices.Contains(l.kept, lane) {
			l.running.Go(func() { lane.run(l.until, i%3 == 1) })
		}
	}
	for i := range l.system.shims {
		l.running.Go(func() { l.list(l.until, i) })
	}
}

// addChannel adds a channel and its lanes, which nothing runs yet.
func (l *load) addChannel(channel string) {
	client := func(name string, role bot.Role) *guest {
		r := &guest{channel: channel, clientID: name, role: role, address: l.address}
		l.guests = append(l.guests, r)

		return r
	}
	l.channels = append(l.channels, channel)
	sender, reference := client("sender", bot.SendOnly), client("reference", bot.RecvOnly)
	for _, name := range []string{"by-object", "by-http", "kept"} {
		lane := &lane{
			load: l, channel: channel, name: channel + "-" + name,
			receiver: client(name, bot.RecvOnly), sender: sender, reference: reference,
			random: rand.New(rand.NewPCG(rand.Uint64(), 0)),
		}
		l.lanes = append(l.lanes, lane)
		if name == "kept" {
			l.kept = append(l.kept, lane)
		}
	}
}

// look notes where the programs are; to be called after each change of that.
func (l *load) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ways = ways{}
	for _, m := range l.system.managers {
		l.ways.views = append(l.ways.views, m.view)
	}
	for _, p := range l.system.shims {
		l.ways.shims = append(l.ways.shims, p.url)
	}
	for _, m := range l.system.mediaServers {
		l.ways.signaling = append(l.ways.signaling, m.signalingURL)
	}
}

func (l *load) views() []forwardingv1.ViewClient {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.ways.views
}

// address is that of any media server: each passes a client on to the one that hosts
// the client's channel.
func (l *load) address() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.ways.signaling[rand.IntN(len(l.ways.signaling))]
}

func (l *load) shim(index int) string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.ways.shims[index]
}

// anyShims are the URLs of all shims, in any order.
func (l *load) anyShims() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.ways.shims)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })

	return all
}

// note remembers what a lane could not do last.
func (l *load) note(lane string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem[lane] = err
}

// list asks a shim for the list of a channel again and again, until ctx ends. What is
// in it is a statement; what cannot be is a word too much.
func (l *load) list(ctx context.Context, shim int) {
	for i := 0; ctx.Err() == nil; i++ {
		idle(ctx, 300*time.Millisecond)
		channel := l.channels[i%len(l.channels)]
		asked := time.Now()
		entries, err := l.listed(ctx, shim, channel)
		if err != nil {
			continue
		}
		answered := time.Now()
		for _, lane := range l.lanes {
			if lane.channel == channel {
				l.hearList(lane, entries, asked, answered)
			}
		}
	}
}

func (l *load) listed(ctx context.Context, shim int, channel string) ([]entry, error) {
	asking, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	header := http.Header{"X-Sora-Target": {listTarget}}
	status, _, text, err := ask(asking, http.MethodPost, l.shim(shim), header, body(field{"channel_id", channel}))
	if err != nil {
		return nil, err
	}
	var entries []entry
	if err := json.Unmarshal([]byte(text), &entries); err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("list %s: %d %s", channel, status, text)
	}

	return entries, nil
}

func (l *load) hearList(lane *lane, entries []entry, asked, answered time.Time) {
	receiver, sender := lane.receiver.here(), lane.sender.here()
	if receiver == nil || sender == nil || !slices.ContainsFunc(entries, func(e entry) bool {
		return e.RecvConnectionID == receiver.ConnectionID() && e.SendConnectionID == sender.ConnectionID()
	}) {
		return
	}
	lane.mu.Lock()
	defer lane.mu.Unlock()
	switch {
	case lane.open != nil:
		lane.open.said = append(lane.open.said, statement{at: answered, by: "a list", asked: lane.open.began})
	case !lane.flowing.IsZero() && lane.flowing.Before(asked) && !lane.unanswered:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.heard.statements++
		l.heard.overclaims++
		l.heard.findings = append(l.heard.findings, "a list names the edge of "+lane.name+", which flows")
	}
}

// shut waits until nothing is being asked for, and has nothing more asked for until
// the gate is unlocked.
func (l *load) shut(t *testing.T) {
	t.Helper()
	locked, late := make(chan struct{}), make(chan struct{})
	go func() {
		l.gate.Lock()
		select {
		case locked <- struct{}{}:
		case <-late:
			l.gate.Unlock()
		}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-locked:
	case <-timer.C:
		close(late)
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Fatalf("waited in vain for what is being asked for to be answered: %v", l.problem)
	}
}

// healthy notes that whatever was asked for has been carried out, or never will be.
func (l *load) healthy() {
	for _, lane := range l.lanes {
		lane.mu.Lock()
		lane.unanswered = false
		lane.mu.Unlock()
	}
}

// takenOver is after how long out of touch another media server may host a channel.
const takenOver = 25 * time.Second

// silence notes that nobody could know what the media server of those channels did.
func (l *load) silence(channels []string, from, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if most := from.Add(takenOver); until.After(most) {
		until = most
	}
	for _, channel := range channels {
		l.silences[channel] = append(l.silences[channel], silence{from, until})
	}
}

// hostedBy are the channels that a media server hosts.
func (l *load) hostedBy(t *testing.T, name string) []string {
	t.Helper()
	var all []string
	for _, channel := range l.channels {
		if at, err := l.host(t.Context(), channel); err != nil {
			t.Fatal(err)
		} else if at == name {
			all = append(all, channel)
		}
	}

	return all
}

// host is the one media server where everybody is in a channel; two are an error.
func (l *load) host(ctx context.Context, channel string) (string, error) {
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()

	return firstOf(asking, l.views(), func(ctx context.Context, view forwardingv1.ViewClient) (string, error) {
		stream, err := view.Connections(ctx, &forwardingv1.ConnectionsRequest{Namespace: namespace, ChannelId: channel})
		parts, err := collect(stream, err)
		if err != nil {
			return "", err
		}
		at := ""
		for _, part := range parts {
			for _, c := range part.GetConnections() {
				if at != "" && at != c.GetMediaServer() {
					return "", fmt.Errorf("%s is split: some are in it at %s, others at %s", channel, at, c.GetMediaServer())
				}
				at = c.GetMediaServer()
			}
		}

		return at, nil
	})
}

// judge has everything judged that was said and that came since it was last called.
func (l *load) judge() verdict {
	v := l.heardTooMuch()
	for _, lane := range l.lanes {
		v.add(lane.judge())
	}

	return v
}

// heardTooMuch is what lists said too much since it was last called.
func (l *load) heardTooMuch() verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.heard
	l.heard = verdict{}

	return v
}

// judge judges the periods of one lane.
func (l *lane) judge() verdict {
	l.load.mu.Lock()
	silences := l.load.silences[l.channel]
	l.load.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var v verdict
	all := l.over
	if l.open != nil {
		all = append(all, l.open)
	}
	for _, p := range all {
		judged := p.period
		judged.said = slices.Clone(p.said)
		for i, c := range p.contents {
			for _, s := range l.load.witness.of(c) {
				s.asked = p.asked[i]
				if s.at.Before(p.began) { // Of what was adopted.
					s.at = p.began
				}
				judged.said = append(judged.said, s)
			}
		}
		if p.ends != nil {
			if end := p.ends(); !end.IsZero() && (judged.ended.IsZero() || end.Before(judged.ended)) {
				judged.ended = end
			}
		}
		before := judged.judged
		found := judged.judge(now, l.receiver.videoFrom(l.sender, p.began), silences)
		if first := judged.first(judged.judged); !first.IsZero() {
			if first.Before(before) {
				first = before
			}
			for _, packet := range l.reference.videoFrom(l.sender, first) {
				if !packet.at.After(judged.judged) {
					found.withheld++
				}
			}
		}
		for i := range found.findings {
			found.findings[i] = l.name + ": " + found.findings[i]
		}
		p.judged = judged.judged
		v.add(found)
	}
	l.over = nil
	v.seen = len(l.receiver.videoFrom(l.sender, l.seen))
	l.seen = now

	return v
}
