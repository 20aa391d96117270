package knowledge

import (
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Verdict is where a pause stands.
type Verdict struct {
	// Reason is of the Ready condition, one of v1alpha1.Reason*.
	Reason string
	// Matching are the media servers that have acknowledged the present content and
	// withhold a live edge; Waiting host the channel, are in touch, and have not
	// acknowledged it; Lost are out of touch and hosted the channel, or, where it
	// would be Armed, any that is out of touch. All are sorted.
	Matching, Waiting, Lost []string
	// Withholding say that they withhold an edge though expiresAt has passed by this
	// clock: theirs is slower. Sorted.
	Withholding []string
	// LostSince is since when the first of Lost is out of touch; zero when none is.
	LostSince time.Time
	// Until is when the passing of time alone changes the verdict; zero: never.
	Until time.Time
}

// Judge tells where the pause stands at the time now. inOffice is since when the
// asker has listened.
func (t *Tenant) Judge(_ *v1alpha1.RtpStreamPause, _, _ time.Time) Verdict {
	return Verdict{Reason: v1alpha1.ReasonStarting}
}
