// Package bandwidth finds out how much one receiver can be sent: an estimate by what the
// receiver says and by how long round trips take, and probes by which it climbs. It is pure:
// the clock is the caller's, who also makes one call at a time.
//
// Only a receiver that has been sent too much has a limit. What is sent less than
// could be, because senders are silent or edges are withheld, says nothing about the way
// there, so nothing is concluded from it.
package bandwidth

// Estimator tells how much a receiver can be sent. Reported is the one there is; one that
// measures delay by transport-wide feedback would be another.
type Estimator interface {
	// Estimate is in bit/s of payload, all streams together. limited is false as long as
	// nothing has told of a limit.
	Estimate() (bitsPerSecond int, limited bool)
}

const (
	// minEstimate is what is left of any estimate: less than any picture takes.
	minEstimate = 30_000
	// maxEstimate bounds what receivers may say, and is the estimate of whom no limit is known.
	maxEstimate = 1_000_000_000
)
