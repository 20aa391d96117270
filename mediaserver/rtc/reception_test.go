package rtc

import (
	"slices"
	"testing"
	"time"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// feed gives a reception packets a frame apart.
func feed(r *reception, sequenceNumbers ...uint16) (gap bool) {
	for _, n := range sequenceNumbers {
		_, gap, _ = r.receive(n, uint32(n)*3000, false, begin.Add(time.Duration(n)*time.Second/30))
	}

	return gap
}

func newReception() *reception { return &reception{ssrc: 7, clockRate: 90_000} }

func TestMissingPacketsAreAskedForUntilTheyCome(t *testing.T) {
	r := newReception()
	if feed(r, 65533, 65534) {
		t.Error("a gap where there is none")
	}
	if !feed(r, 2) { // 65535, 0 and 1 are missing
		t.Error("no gap where there is one")
	}
	at := begin.Add(2 * time.Second / 30)
	if numbers, next := r.ask(at); len(numbers) != 0 || next != at.Add(nackDelay) {
		t.Errorf("asked for %v at once, next at %v: it may be reordering", numbers, next)
	}
	feed(r, 0) // late
	at = at.Add(nackDelay)
	for try := range nackTries {
		numbers, next := r.ask(at)
		wait := min(firstNACKInterval<<try, maxNACKBackOff)
		if !slices.Equal(numbers, []uint16{65535, 1}) || next != at.Add(wait) {
			t.Fatalf("try %d: asked for %v, next at %v", try, numbers, next)
		}
		if again, _ := r.ask(at.Add(wait / 2)); len(again) != 0 {
			t.Fatalf("try %d: asked for %v again too early", try, again)
		}
		at = next
	}
	if numbers, next := r.ask(at); len(numbers) != 0 || !next.IsZero() {
		t.Errorf("asked for %v after %d tries, next at %v", numbers, nackTries, next)
	}
}

func TestMissingPacketsAreBounded(t *testing.T) {
	r := newReception()
	for n := uint16(0); n < 60_000; n += 2000 {
		feed(r, n)
	}
	if len(r.missing) > maxMissing {
		t.Errorf("%d missing packets are remembered", len(r.missing))
	}
}

// RFC 3550 section 6.4.1 and appendix A.3.
func TestReceptionReports(t *testing.T) {
	r := newReception()
	if _, ok := r.report(begin); ok {
		t.Error("a report about nothing")
	}
	feed(r, 65534, 65535, 0, 2, 3) // 1 of 6 is lost
	r.reported(0x0102030405060708, begin)
	report, ok := r.report(begin.Add(1500 * time.Millisecond))
	if !ok || report.SSRC != 7 || report.TotalLost != 1 || report.FractionLost != 256/6 ||
		report.LastSequenceNumber != 1<<16+3 ||
		report.LastSenderReport != 0x03040506 || report.Delay != 3<<15 {
		t.Errorf("report %+v", report)
	}
	feed(r, 4, 5)
	if report, _ = r.report(begin); report.FractionLost != 0 || report.TotalLost != 1 {
		t.Errorf("report after two good packets %+v", report)
	}
	feed(r, 5, 5, 5) // copies count as received
	if report, _ = r.report(begin); report.TotalLost != 0 || report.FractionLost != 0 {
		t.Errorf("report after copies %+v", report)
	}
}

// A datagram full of sender reports must not become as many for each receiver.
func TestSenderReportsInRapidSuccession(t *testing.T) {
	r := newReception()
	for i, want := range []bool{true, false, false, true} {
		if got := r.reported(uint64(i), begin.Add(time.Duration(i)*minReportInterval/3)); got != want {
			t.Errorf("report %d passed on: %t, want %t", i, got, want)
		}
	}
}

func TestNearTellsLateRetransmissions(t *testing.T) {
	r := newReception()
	if !r.near(1) {
		t.Error("nothing is late before the first packet")
	}
	feed(r, 65535, 0, 1)
	for number, want := range map[uint16]bool{1: true, 60: true, 65500: true, 64530: true, 64500: false, 20_000: false,
		40_000: false} {
		if got := r.near(number); got != want {
			t.Errorf("number %d near 1: %t, want %t", number, got, want)
		}
	}
}

func TestJitter(t *testing.T) {
	even, uneven := newReception(), newReception()
	for i := range uint16(200) {
		even.receive(i, uint32(i)*3000, false, begin.Add(time.Duration(i)*time.Second/30))
		late := time.Duration(i%2) * 10 * time.Millisecond
		uneven.receive(i, uint32(i)*3000, false, begin.Add(time.Duration(i)*time.Second/30+late))
	}
	if even.jitter > 2 {
		t.Errorf("jitter %v of an even stream", even.jitter)
	}
	if uneven.jitter < 800 || uneven.jitter > 1000 { // 10 ms are 900 ticks
		t.Errorf("jitter %v of a stream that is 10 ms late every other time", uneven.jitter)
	}
}

// A sender that begins a new run of numbers is not asked for what lies between.
func TestNewRunOfNumbers(t *testing.T) {
	r := newReception()
	feed(r, 1, 2, 3, 40_000, 40_001, 40_003)
	if len(r.missing) != 1 || uint16(r.missing[0].sequenceNumber) != 40_002 {
		t.Errorf("missing %v", r.missing)
	}
	if report, ok := r.report(begin); !ok || report.TotalLost != 1 {
		t.Errorf("report %+v", report)
	}
}

// What was sent again does not hide from its sender that the way to us loses packets.
func TestRetransmissionsDoNotHideLoss(t *testing.T) {
	r := newReception()
	feed(r, 1, 2, 4)
	r.receive(3, 9000, true, begin.Add(time.Second))
	if len(r.missing) != 0 {
		t.Errorf("still missing: %v", r.missing)
	}
	if report, _ := r.report(begin); report.TotalLost != 1 || report.FractionLost != 256/4 {
		t.Errorf("report %+v", report)
	}
}

// lossy plays 20 s of a sender that is a round trip away and loses every tenth packet, and of those that it sends
// again those that lose says. It tells how often each lost packet was asked for.
func lossy(r *reception, roundTrip time.Duration, rtx bool, lose func(answer int) bool) (asks []int) {
	type answer struct {
		number uint16
		at     time.Time
	}
	var answers []answer
	index, answered := map[uint16]int{}, 0
	for ms := range 20_000 {
		now := begin.Add(time.Duration(ms) * time.Millisecond)
		if number := uint16(ms / 10); ms%10 == 0 && number%10 != 9 {
			r.receive(number, 0, false, now)
		}
		for len(answers) > 0 && !answers[0].at.After(now) {
			r.receive(answers[0].number, 0, rtx, now)
			answers = answers[1:]
		}
		numbers, _ := r.ask(now)
		for _, number := range numbers {
			if _, ok := index[number]; !ok {
				index[number] = len(asks)
				asks = append(asks, 0)
			}
			asks[index[number]]++
			if answered++; !lose(answered) {
				answers = append(answers, answer{number, now.Add(roundTrip)})
			}
		}
	}

	return asks[:len(asks)-10] // the last ones are not answered yet
}

// Once the round trip is known, a packet is asked for once; before that a few times at most, however long it is.
func TestNACKsArePacedByTheRoundTrip(t *testing.T) {
	for _, roundTrip := range []time.Duration{1, 5, 30, 90, 150, 300, 390} {
		for _, rtx := range []bool{true, false} {
			r := newReception()
			for i, n := range lossy(r, roundTrip*time.Millisecond, rtx, func(int) bool { return false }) {
				if n > 5 || n > 1 && i > 10 {
					t.Errorf("round trip %d ms, RTX %t: lost packet %d was asked for %d times", roundTrip, rtx, i, n)
				}
			}
			if got := r.trips.estimate(); got != roundTrip*time.Millisecond {
				t.Errorf("round trip %d ms, RTX %t: %v is measured", roundTrip, rtx, got)
			}
		}
	}
}

// Where the way loses a third of the answers, each is waited for no longer than the round trip takes.
func TestLostAnswersDoNotSlowNACKsDown(t *testing.T) {
	r := newReception()
	asks := lossy(r, 80*time.Millisecond, true, func(answer int) bool { return answer%3 == 0 })
	sum := 0
	for _, n := range asks {
		sum += n
	}
	if sum > len(asks)*16/10 {
		t.Errorf("%d lost packets were asked for %d times", len(asks), sum)
	}
	if got := r.trips.estimate(); got != 80*time.Millisecond {
		t.Errorf("a round trip of %v is measured", got)
	}
	for try, want := range []time.Duration{100, 160, 160, 160} {
		if got := r.nackInterval(try + 1); got != want*time.Millisecond {
			t.Errorf("try %d is waited for %v, want %d ms", try+1, got, want)
		}
	}
	r.restart(8) // another stream of the same client
	feed(r, 1, 40_000)
	if got := r.trips.estimate(); got != 80*time.Millisecond {
		t.Errorf("a round trip of %v under a new SSRC", got)
	}
}

// A packet that is merely late, and comes just after it was asked for, is no answer.
func TestLatePacketsAreNoAnswers(t *testing.T) {
	r := newReception()
	lossy(r, 200*time.Millisecond, true, func(int) bool { return false })
	first := r.highest + 2
	for n := first; n < first+100; n += 2 {
		now := begin.Add(time.Minute + time.Duration(n)*100*time.Millisecond)
		for _, late := range []struct {
			number uint64
			after  time.Duration
		}{{n, 0}, {n - 1, 12 * time.Millisecond}} {
			r.ask(now.Add(late.after - time.Millisecond))
			r.receive(uint16(late.number), 0, false, now.Add(late.after))
		}
	}
	if got := r.trips.estimate(); got != 200*time.Millisecond {
		t.Errorf("a round trip of %v is measured", got)
	}
}
