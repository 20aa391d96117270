package bandwidth

import "time"

const (
	// measureEvery is how often a round trip is measured, in doubt and in a probe.
	measureEvery = 60 * time.Millisecond
	// deep is a queue that no burst makes, and shallow one that none has left after burstFor: a
	// keyframe of 50 KB takes 200 ms at 2 Mbit/s, and as long again beside what follows it.
	deep     = 250 * time.Millisecond
	shallow  = 60 * time.Millisecond
	burstFor = 400 * time.Millisecond
	// agree is how many round trips in a row have to be long after that, of 0.4 s.
	agree = 7
	// doubtFor is how long answers may take, where round trips do not take longer themselves, and as
	// long again once one has come. Then the receiver's estimate is believed, and nothing else.
	doubtFor = 1500 * time.Millisecond
)

// doubt is whether what is sent is too much, after a sign of it that may come of other things: a
// receiver's estimate falls of a burst as well, and single round trips are long on many ways. The
// way itself decides, by round trips that are measured. The zero doubt is none.
type doubt struct {
	since    time.Time
	said     bool      // the receiver's estimate is the sign, and says how much can be sent
	most     float64   // of what was sent meanwhile, in bit/s
	measured time.Time // when a round trip was last
	long     int       // how many were, of those measured when a burst has passed
	least    time.Duration
	decided  bool // it is too much
	sudden   bool // by so much that a deep queue has come before a burst could have passed
}

// begin is for each sign.
func (d *doubt) begin(said bool, now time.Time) {
	if !d.is() {
		d.since = now
	}
	d.said = d.said || said
}

func (d *doubt) is() bool { return !d.since.IsZero() }

// over tells whether it has been decided, or too few answers have come, given how long round trips
// take as long as there is no queue.
func (d *doubt) over(usual time.Duration, now time.Time) bool {
	wait := max(doubtFor, usual+burstFor)
	if d.long > 0 {
		wait += doubtFor
	}

	return d.decided || d.is() && now.Sub(d.since) >= wait
}

// sends notes what is sent, in bit/s. Where that has become far less, as by a pause, it is no more in doubt.
func (d *doubt) sends(rate float64) {
	if d.most = max(d.most, rate); rate <= 0 || rate < d.most/2 {
		*d = doubt{}
	}
}

// receive takes in a round trip that was measured from began on, and the queue that it tells of.
func (d *doubt) receive(took, queue time.Duration, began time.Time) {
	passed := began.Sub(d.since) >= burstFor
	switch {
	case passed && queue < shallow:
		*d = doubt{}
	case passed:
		if d.long == 0 || took < d.least {
			d.least = took
		}
		d.long++
		d.decided = d.decided || d.long == agree || queue >= deep
	case queue >= deep:
		d.decided, d.sudden, d.least = true, true, took
	}
}

// Measure tells whether a round trip is to be measured now, and when to look again; zero: there
// is no doubt.
func (r *Reported) Measure(now time.Time) (measure bool, next time.Time) {
	d := &r.doubt
	if !d.is() {
		return false, time.Time{}
	}
	if next = d.measured.Add(measureEvery); now.Before(next) {
		return false, next
	}
	d.measured = now

	return true, now.Add(measureEvery)
}

// ReceiveMeasured takes in how long a round trip took that was measured, and tells whether a look
// is due.
func (r *Reported) ReceiveMeasured(took time.Duration, now time.Time) (due bool) {
	if took <= 0 {
		return false
	}
	r.trips.shorten(took, now)
	if !r.doubt.is() {
		return false
	}
	r.doubt.receive(took, took-r.trips.usual(), now.Add(-took))
	if !r.doubt.is() {
		r.dismissed = now
	}

	return true
}
