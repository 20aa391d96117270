//go:build linux

package main

// scenario is one case: who sends what to whom.
type scenario struct {
	name       string
	senders    int
	receivers  int
	conference bool // Every sender receives all others, on its own connection where the server allows.
	paused     int  // Receivers, of those above, that are paused.
	frame      []int
	layers     [][]int // Frames of a simulcast sender; a receiver wants the one at its index modulo their number.
	fps        int
	audio      bool
	speakers   int  // In a spotlight channel: how many of the senders speak, all the time; 0: it is none.
	plainless  bool // The floor has nothing comparable.
	unpinned   bool // Server and clients may use every core.
	sink       bool // Receivers have packets counted without opening them, which costs next to nothing.
	silent     bool // Receivers report nothing, so that packets alone are measured.
	workers    int  // Of our media server; 0 is 1.
	seconds    int  // At most, whatever --seconds says; 0: no limit.

	servers     []string // Unless --servers says others.
	environment []string // Of our media server, beside the present one.
}

// core is where the server runs.
func (c scenario) core() int {
	if c.unpinned {
		return anyCore
	}

	return serverCore
}

// edges is how many copies of each sender's packet leave the server. With layers the receivers are a multiple of them.
func (c scenario) edges() int {
	return c.streams() / max(1, len(c.layers))
}

// heard is how many senders' packets are forwarded.
func (c scenario) heard() int {
	if c.speakers > 0 {
		return c.speakers
	}

	return c.senders
}

// streams is how many receivers a sender has.
func (c scenario) streams() int {
	if c.conference {
		return c.senders - 1
	}

	return c.receivers - c.paused
}

// The rates of most stay far below what any of the servers, and the one core of
// load, begins to lose at: about 10,000 packets a second at most.
func cases() []scenario {
	all := []string{"nagi", "livekit", "livekit-batch", "janus", "floor-gso"}
	peers := []string{"nagi", "livekit-batch", "janus"}
	// Four senders, so that several workers find something to share: 560,000
	// packets a second, for which one worker needs most of a core.
	fast := scenario{
		senders:   4,
		receivers: 50,
		frame:     equal(20, 1100),
		fps:       140,
		sink:      true,
		unpinned:  true,
		plainless: true,
		servers:   []string{"nagi"},
	}
	// What comes by the packet is dear to hand over, so a second worker must not make it
	// dearer.
	conference := scenario{
		senders:    10,
		conference: true,
		frame:      equal(4, 1040),
		fps:        20,
		unpinned:   true,
		plainless:  true,
		servers:    []string{"nagi"},
	}
	audio := scenario{
		senders:   1,
		receivers: 50,
		frame:     equal(1, 120),
		fps:       50,
		audio:     true,
		unpinned:  true,
		plainless: true,
		servers:   []string{"nagi"},
	}
	// Rubbish is collected at once, so that memory is what is in use; and enough
	// is sent to fill every store.
	small := scenario{
		frame: equal(4, 1040), fps: 15, sink: true, plainless: true, seconds: 5, servers: []string{"nagi"},
		environment: []string{"GOGC=5"},
	}

	return []scenario{
		{name: "10x20", servers: all, senders: 1, receivers: 10, frame: equal(20, 1100), fps: 30},
		{name: "10x67", servers: all, senders: 1, receivers: 10, frame: equal(67, 1100), fps: 15},
		{name: "50x20", servers: all, senders: 1, receivers: 50, frame: equal(20, 1100), fps: 10},
		{name: "50x67", servers: all, senders: 1, receivers: 50, frame: equal(67, 1100), fps: 3},
		{name: "50x4-equal", servers: all, senders: 1, receivers: 50, frame: equal(4, 1040), fps: 30},
		// libwebrtc spreads a frame over its packets, the bigger parts last.
		{name: "50x4-uneven", servers: all, senders: 1, receivers: 50, frame: []int{1040, 1040, 1041, 1041}, fps: 30},
		{name: "conference", servers: peers, senders: 10, conference: true, frame: equal(4, 1040), fps: 20, plainless: true},
		{
			name: "audio", servers: append(peers[:len(peers):len(peers)], "floor-gso"), senders: 1, receivers: 50,
			frame: equal(1, 120), fps: 50, audio: true,
		},
		{
			name: "spotlight", servers: []string{"nagi"}, senders: 30, conference: true, speakers: 5, frame: equal(1, 120),
			fps: 50, audio: true, plainless: true,
		},
		// 150, 450 and 1,200 kbit/s; 17 receivers of each.
		{
			name: "simulcast", servers: []string{"nagi"}, senders: 1, receivers: 51,
			layers: [][]int{equal(1, 625), equal(2, 940), equal(5, 1000)}, fps: 30, plainless: true,
		},
		{name: "paused-0-of-1", servers: peers, senders: 1, receivers: 1, frame: equal(67, 1100), fps: 30},
		{
			name: "paused-49-of-50", servers: peers, senders: 1, receivers: 50, paused: 49, frame: equal(67, 1100), fps: 30,
			plainless: true,
		},
		{name: "alone", servers: peers, senders: 1, frame: equal(67, 1100), fps: 30},
		{
			name: "paused-50-of-50", servers: peers, senders: 1, receivers: 50, paused: 50, frame: equal(67, 1100), fps: 30,
			plainless: true,
		},
		fast.with("workers-1", func(c *scenario) { c.workers = 1 }),
		fast.with("workers-2", func(c *scenario) { c.workers = 2 }),
		fast.with("workers-2-full", func(c *scenario) { c.workers, c.fps = 2, 400 }), // More than there is processor for.
		conference.with("conference-workers-1", func(c *scenario) { c.workers = 1 }),
		conference.with("conference-workers-2", func(c *scenario) { c.workers = 2 }),
		audio.with("audio-workers-1", func(c *scenario) { c.workers = 1 }),
		audio.with("audio-workers-2", func(c *scenario) { c.workers = 2 }),
		small.with("memory-1-to-0", func(c *scenario) { c.senders = 1 }),
		small.with("memory-11-to-0", func(c *scenario) { c.senders = 11 }),
		small.with("memory-1-to-50", func(c *scenario) { c.senders, c.receivers = 1, 50 }),
		small.with("memory-11-to-50", func(c *scenario) { c.senders, c.receivers = 11, 50 }),
	}
}

func (c scenario) with(name string, change func(*scenario)) scenario {
	c.name = name
	change(&c)

	return c
}

func equal(packets, bytes int) []int {
	sizes := make([]int, packets)
	for i := range sizes {
		sizes[i] = bytes
	}

	return sizes
}

func caseNames() []string {
	var names []string
	for _, c := range cases() {
		names = append(names, c.name)
	}

	return names
}

func caseByName(name string) (scenario, bool) {
	for _, c := range cases() {
		if c.name == name {
			return c, true
		}
	}

	return scenario{}, false
}
