package knowledge

import (
	"errors"
	"testing"
	"time"
)

// A media server that ends in order is gone, not lost: a rolling restart must not
// make every armed pause of the namespace MediaServerLost for 10 minutes.
func TestFarewellIsNoLoss(t *testing.T) {
	for name, x := range map[string]struct {
		farewell bool
		want     string
	}{
		"silence":  {want: "MediaServerLost lost ms"},
		"farewell": {farewell: true, want: "Armed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := listed()
			w.create("hosted")
			w.create("elsewhere", inChannel("hall"))
			s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
			if x.farewell {
				s.Farewell(start.Add(time.Second))
			}
			s.Close(start.Add(time.Second))
			for _, pause := range []string{"hosted", "elsewhere"} {
				if got := describe(w.Judge(w.objects[pause], start.Add(-time.Hour), start.Add(time.Minute))); got != x.want {
					t.Errorf("%s is judged %q, want %q", pause, got, x.want)
				}
			}
			// It comes back under its name, as another process.
			w.stream(t, "ms", start.Add(2*time.Minute))
			if got := describe(w.Judge(w.objects["elsewhere"], start.Add(-time.Hour),
				start.Add(3*time.Minute))); got != "Armed" {
				t.Errorf("once it is back: judged %q, want Armed", got)
			}
		})
	}
}

func TestNothingIsReportedAfterFarewell(t *testing.T) {
	w := listed()
	s := w.stream(t, "ms", start)
	s.Farewell(start)
	if err := s.Report(reportOf("lobby", 1, 1, 0, "R"), start); !errors.Is(err, ErrInvalid) {
		t.Errorf("a report after it: %v", err)
	}
	s.Close(start)
	if sessions, lost := w.Hosts("lobby"); len(sessions)+len(lost) > 0 || len(w.channels) > 0 {
		t.Errorf("hosted by %d, and by %v that are lost", len(sessions), lost)
	}
}
