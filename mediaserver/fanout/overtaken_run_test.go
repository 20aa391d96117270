package fanout_test

import (
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// The burst in which a sender begins a new run waits for a worker, while the one behind
// it comes in by that worker's own socket and is walked at once: no number may carry a
// second packet, whose nonce would be the first one's.
func TestNewRunOvertakenByItsSecondBurst(t *testing.T) {
	h := holdWorkers(2)
	track := fanout.NewTrack(fanout.Config{Kind: media.Audio, Inspect: inspectAudio, HandOver: 32, Workers: h})
	sink := &recorder{worker: 1}
	track.Project(sink, 0)
	track.Project(&recorder{worker: 1}, 0) // two, so that 31 packets are worth a handover
	for n := uint64(1); n < 2049; n += 32 {
		track.ReceiveRTP(h.batches[1], many(n, "d"))
	}
	burst := many(948, "d")
	for i := range burst {
		burst[i] = renumbered(burst[i], 1, 9)
	}
	track.ReceiveRTP(h.batches[0], burst)
	track.ReceiveRTP(h.batches[1], []media.Received{renumbered(packet(980, "x", true), 1, 9)})
	h.run(t, 1, 1)
	track.ReceiveRTP(h.batches[1], []media.Received{renumbered(packet(981, "y", true), 1, 9)})

	numbers, bytes := sink.got()
	first := make(map[uint16]byte)
	for i, n := range numbers {
		if before, again := first[n]; again && before != bytes[i] {
			t.Errorf("number %d carried %q and then %q", n, before, bytes[i])
		}
		first[n] = bytes[i]
	}
}
