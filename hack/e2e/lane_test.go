package e2e

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// lane is one edge that is paused, edited and let go on again and again, and what was
// said of it. Nobody else pauses it.
type lane struct {
	load                        *load
	channel, name               string
	receiver, sender, reference *guest
	random                      *rand.Rand
	made                        int // Objects, for their names.

	mu sync.Mutex
	// wanted is the object that was asked for last; nil: that there is none.
	wanted *v1alpha1.RtpStreamPause
	// open is the period that goes on, nil while the edge is asked to flow; over are
	// those that have ended and are not judged yet.
	open *lanePeriod
	over []*lanePeriod
	// flowing is since when it is certain that the edge is not paused; zero: it is not.
	flowing time.Time
	// turn counts how often something else than the lane has changed what is wanted.
	turn int
	// unanswered: a request had no answer, so that it may still be carried out, by a
	// shim that wakes.
	unanswered bool
	// seen is until when what came has been counted.
	seen time.Time
}

// lanePeriod is a period with the contents that it was asked for by, one after another.
type lanePeriod struct {
	period

	contents []content
	asked    []time.Time // Of each of contents.
	// ends is when the connections that the pause names are gone; nil: it names none.
	ends func() time.Time
}

// run is the steady load of one lane, until ctx ends.
func (l *lane) run(ctx context.Context, byShim bool) {
	for ctx.Err() == nil {
		if byShim {
			l.runShim(ctx)
		} else {
			l.runObject(ctx)
		}
	}
}

// runObject creates an object, edits it and deletes it.
func (l *lane) runObject(ctx context.Context) {
	l.ask(ctx, l.create)
	l.awaitSaid(ctx)
	l.hold(ctx)
	for range l.random.IntN(3) {
		l.ask(ctx, func(ctx context.Context) error { return l.edit(ctx, l.randomSpec()) })
		l.awaitSaid(ctx)
		l.hold(ctx)
	}
	if l.random.IntN(3) == 0 {
		spec := clientSpec(l.channel, "nobody", l.sender.clientID)
		l.ask(ctx, func(ctx context.Context) error { return l.edit(ctx, spec) })
		l.awaitFlow(ctx)
		l.hold(ctx)
	}
	l.ask(ctx, l.remove)
	l.awaitFlow(ctx)
	l.hold(ctx)
}

// runShim pauses and resumes over HTTP.
func (l *lane) runShim(ctx context.Context) {
	byClient := l.random.IntN(2) == 0
	l.ask(ctx, func(ctx context.Context) error { return l.pauseByShim(ctx, byClient) })
	l.awaitSaid(ctx)
	l.hold(ctx)
	l.ask(ctx, l.resume)
	l.awaitFlow(ctx)
	l.hold(ctx)
}

// hold leaves what was asked for as it is for a moment: the load's pace.
func (l *lane) hold(ctx context.Context) {
	idle(ctx, 100*time.Millisecond+time.Duration(l.random.IntN(300))*time.Millisecond)
}

// ask asks for something until it is certain that it has been asked for. Faults wait
// for that, and hold it up, at the load's gate.
func (l *lane) ask(ctx context.Context, once func(context.Context) error) {
	l.load.gate.RLock()
	defer l.load.gate.RUnlock()
	for ctx.Err() == nil {
		trying, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := once(trying)
		cancel()
		if err == nil {
			return
		}
		l.load.note(l.name, err)
		idle(ctx, 50*time.Millisecond)
	}
}

// begin notes that the edge is about to be asked to be paused, and since when that is
// so: not anew when it is asked once more.
func (l *lane) begin() (asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flowing = time.Time{}
	if l.open == nil {
		l.open = &lanePeriod{period: period{began: time.Now(), cuts: map[pair]cut{}}}
	}

	return l.open.began
}

// finish notes that the edge is about to be let go on.
func (l *lane) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		return
	}
	l.open.ended = time.Now()
	l.over = append(l.over, l.open)
	l.open = nil
}

// has notes the object that is there now.
func (l *lane) has(pause *v1alpha1.RtpStreamPause, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = pause
	if l.open != nil && pause != nil {
		l.open.contents = append(l.open.contents, content{pause.UID, pause.Generation})
		l.open.asked = append(l.open.asked, asked)
		l.open.ends = l.endOf(pause.Spec)
	}
}

// endOf returns what tells when the connections that a pause names are gone.
func (l *lane) endOf(spec v1alpha1.RtpStreamPauseSpec) func() time.Time {
	if len(spec.Receivers.ConnectionIDs)+len(spec.Senders.ConnectionIDs) == 0 {
		return nil
	}

	return func() time.Time {
		var first time.Time
		for _, id := range slices.Concat(spec.Receivers.ConnectionIDs, spec.Senders.ConnectionIDs) {
			for _, r := range []*guest{l.receiver, l.sender} {
				if left := r.left(id); !left.IsZero() && (first.IsZero() || left.Before(first)) {
					first = left
				}
			}
		}

		return first
	}
}

func (l *lane) object() *v1alpha1.RtpStreamPause {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.wanted
}

// owns tells whether an object is the lane's, by whatever way it was made.
func (l *lane) owns(pause *v1alpha1.RtpStreamPause) bool {
	if pause.Spec.ChannelID != l.channel {
		return false
	}
	side := pause.Spec.Receivers
	if strings.HasPrefix(pause.Name, l.name+"-") || slices.Contains(side.ClientIDs, l.receiver.clientID) {
		return true
	}

	return slices.ContainsFunc(l.receiver.ever(), func(v stay) bool {
		return slices.Contains(side.ConnectionIDs, v.ConnectionID())
	})
}

// matches tells whether a pause matches the edge between those who are there now, or
// would be by their client ids.
func (l *lane) matches(spec v1alpha1.RtpStreamPauseSpec) bool {
	return namesGuest(spec.Receivers, l.receiver) && namesGuest(spec.Senders, l.sender)
}

func namesGuest(side v1alpha1.Side, r *guest) bool {
	if len(side.ConnectionIDs) > 0 {
		here := r.here()

		return here != nil && names(side, here)
	}
	except := side.EveryoneExcept

	return side.Everyone != nil || slices.Contains(side.ClientIDs, r.clientID) ||
		except != nil && !slices.Contains(except.ClientIDs, r.clientID)
}

// hear notes a statement about the edge as it is asked to be now.
func (l *lane) hear(s statement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		l.open.said = append(l.open.said, s)
	}
}

// awaitSaid waits until somebody says that the edge is paused: its object's status, or
// View. Then it asks what left last.
func (l *lane) awaitSaid(ctx context.Context) {
	turn, pause := l.now()
	viewToo := l.random.IntN(2) == 0
	for pause != nil && ctx.Err() == nil {
		if now, _ := l.now(); now != turn {
			return
		}
		if len(l.load.witness.of(content{pause.UID, pause.Generation})) > 0 {
			break
		}
		if viewToo && l.askView(ctx, pause) {
			break
		}
		idle(ctx, 10*time.Millisecond)
	}
	l.findCut(ctx)
}

// askView waits a moment until a manager says that the pause is enforced.
func (l *lane) askView(ctx context.Context, pause *v1alpha1.RtpStreamPause) bool {
	asking, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if waitEnforcedBy(asking, l.load.views(), pause) != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		if i := slices.Index(l.open.contents, content{pause.UID, pause.Generation}); i >= 0 {
			l.open.said = append(l.open.said, statement{at: time.Now(), by: "View", asked: l.open.asked[i]})
		}
	}

	return true
}

// findCut asks what left last on the edge.
func (l *lane) findCut(ctx context.Context) {
	receiver, sender := l.receiver.here(), l.sender.here()
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	if receiver == nil || sender == nil || open == nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	told, err := explainBy(asking, l.load.views(), l.channel, edge{receiver, sender})
	if err != nil {
		return
	}
	for _, s := range told.GetStreams() {
		if isPausedVideo(s) {
			l.mu.Lock()
			open.cuts[pair{receiver.ConnectionID(), sender.ConnectionID()}] = cut{
				at: time.Now(), last: uint16(s.GetLastSequenceNumber()), any: s.LastSequenceNumber != nil,
			}
			l.mu.Unlock()
		}
	}
}

func isPausedVideo(s *forwardingv1.Stream) bool {
	return s.GetKind() == forwardingv1.Kind_KIND_VIDEO &&
		slices.Contains(s.GetWithheld(), forwardingv1.Withheld_WITHHELD_PAUSED)
}

// awaitFlow waits until video comes over the edge.
func (l *lane) awaitFlow(ctx context.Context) {
	turn, _ := l.now()
	since := time.Now()
	for ctx.Err() == nil {
		if now, _ := l.now(); now != turn {
			return
		}
		if l.receiver.sawVideoSince(l.sender, since) {
			break
		}
		if err := l.takeBack(ctx); err != nil {
			l.load.note(l.name, err)
		}
		idle(ctx, 10*time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn == turn && l.open == nil {
		l.flowing = time.Now()
	}
}

func (l *lane) now() (turn int, wanted *v1alpha1.RtpStreamPause) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.turn, l.wanted
}
