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
	fps        int
	audio      bool
	plainless  bool // The floor has nothing comparable.
}

// edges is how many copies of each sender's packet leave the server.
func (c scenario) edges() int {
	if c.conference {
		return c.senders - 1
	}
	return c.receivers - c.paused
}

// The rates stay far below what any of the servers, and the one core of load,
// begins to lose at: about 10,000 packets a second at most.
func cases() []scenario {
	return []scenario{
		{name: "10x20", senders: 1, receivers: 10, frame: equal(20, 1100), fps: 30},
		{name: "10x67", senders: 1, receivers: 10, frame: equal(67, 1100), fps: 15},
		{name: "50x20", senders: 1, receivers: 50, frame: equal(20, 1100), fps: 10},
		{name: "50x67", senders: 1, receivers: 50, frame: equal(67, 1100), fps: 3},
		{name: "50x4-equal", senders: 1, receivers: 50, frame: equal(4, 1040), fps: 30},
		// libwebrtc spreads a frame over its packets, the bigger parts last.
		{name: "50x4-uneven", senders: 1, receivers: 50, frame: []int{1040, 1040, 1041, 1041}, fps: 30},
		{name: "conference", senders: 10, conference: true, frame: equal(4, 1040), fps: 20, plainless: true},
		{name: "audio", senders: 1, receivers: 50, frame: equal(1, 120), fps: 50, audio: true},
		{name: "paused-0-of-1", senders: 1, receivers: 1, frame: equal(67, 1100), fps: 30},
		{name: "paused-49-of-50", senders: 1, receivers: 50, paused: 49, frame: equal(67, 1100), fps: 30, plainless: true},
		{name: "alone", senders: 1, frame: equal(67, 1100), fps: 30},
		{name: "paused-50-of-50", senders: 1, receivers: 50, paused: 50, frame: equal(67, 1100), fps: 30, plainless: true},
	}
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
