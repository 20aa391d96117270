package fanout

import "github.com/nagi-rtc/nagi/mediaserver/forwarding"

// Withhold withholds the track from everybody, those to come too. Like Release it waits for
// nothing, so the worker that is about to hand in a burst may call it: the reason must not be
// a promised one (forwarding.Promised).
func (t *Track) Withhold(reason forwarding.Reasons) {
	t.change.Lock()
	changed := t.closed&reason != reason
	if changed {
		t.closed |= reason
		for _, pr := range *t.all.Load() {
			pr.want.Or(uint32(reason) | cut)
		}
		t.refresh()
	}
	t.change.Unlock()
	if changed {
		t.followAll()
	}
}

// Release ends what Withhold did. What is handed in from now on reaches everybody whom no
// other reason keeps it from.
func (t *Track) Release(reason forwarding.Reasons) {
	t.change.Lock()
	changed := t.closed&reason != 0
	if changed {
		t.closed &^= reason
		for _, pr := range *t.all.Load() {
			pr.want.And(^uint32(reason))
		}
		t.refresh()
	}
	t.change.Unlock()
	if changed {
		t.followAll()
	}
}
