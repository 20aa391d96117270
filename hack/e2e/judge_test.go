package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// grace is how long a packet that left may take until it is counted as arrived, where
// no number tells which was the last.
const grace = 500 * time.Millisecond

// period is a time in which an edge is asked to be paused, and what is said of it.
type period struct {
	// began is when it was first asked for; ended when its end was, or when a pause
	// by connection ids lost its connections. Zero: it goes on.
	began, ended time.Time
	said         []statement
	cuts         map[pair]cut
	// judged is until when it has been judged already.
	judged time.Time
}

// statement is what somebody said: that no packet leaves on the edge any more.
type statement struct {
	at time.Time
	by string // Who said it, for people.
	// asked is when what the statement is about was first asked for.
	asked time.Time
}

// pair is what an edge is between: the connection ids of its receiver and its sender.
type pair struct{ receiver, sender string }

// cut is what View said of an edge that is withheld: the last number that left, if any did.
type cut struct {
	at   time.Time
	last uint16
	any  bool
}

// came is a packet that came over the edge.
type came struct {
	arrival

	pair   pair
	joined time.Time // When the later of the two began to join.
}

// silence is a time in which nobody can know what a channel's media server does, such
// as that while it is frozen.
type silence struct{ from, until time.Time }

// verdict is what the judge found.
type verdict struct {
	leaked, overclaims int // Of packets and of statements.
	statements         int // That were judged.
	// seen are the packets that came over the edges; withheld are those that came over
	// the edge beside one of which somebody had said that none leaves.
	seen, withheld int
	findings       []string
}

func (v *verdict) add(other verdict) {
	v.leaked += other.leaked
	v.overclaims += other.overclaims
	v.statements += other.statements
	v.seen += other.seen
	v.withheld += other.withheld
	v.findings = append(v.findings, other.findings...)
}

// judge looks at what was said of the edge, and at what came over it, from where it
// stopped last until now. A packet has leaked when it left after somebody had said
// that none leaves, and each who had said so said too much. So did who said so of
// something that was asked for in a silence, before it was over.
func (p *period) judge(now time.Time, packets []came, silences []silence) verdict {
	until := now
	if !p.ended.IsZero() && p.ended.Before(now) {
		until = p.ended
	}
	var v verdict
	first := p.first(until)
	if first.IsZero() {
		return v
	}
	var last time.Time // Packet that contradicts.
	for _, packet := range packets {
		if !packet.at.After(first) || !packet.at.After(p.judged) || packet.at.After(until) {
			continue
		}
		if why := p.leaked(packet, first); why != "" {
			v.leaked++
			last = packet.at
			v.findings = append(v.findings, fmt.Sprintf("packet %d came %s after it was said that none leaves: %s",
				packet.sequence, packet.at.Sub(first), why))
		}
	}
	for _, s := range p.said {
		if s.at.After(until) {
			continue
		}
		isNew := s.at.After(p.judged)
		if isNew {
			v.statements++
		}
		if s.at.Before(last) {
			v.overclaims++
			v.findings = append(v.findings, s.by+" said so")
		}
		for _, silence := range silences {
			if isNew && s.asked.After(silence.from) && s.at.After(silence.from) && s.at.Before(silence.until) {
				v.overclaims++
				v.findings = append(v.findings, s.by+" said so while nobody could know")
			}
		}
	}
	p.judged = until

	return v
}

// first is when somebody first said that no packet leaves; zero: nobody had by then.
func (p *period) first(until time.Time) time.Time {
	var first time.Time
	for _, s := range p.said {
		if !s.at.After(until) && (first.IsZero() || s.at.Before(first)) {
			first = s.at
		}
	}

	return first
}

// leaked tells why a packet that came after the first statement must have left after
// it; empty: it need not have.
func (p *period) leaked(packet came, first time.Time) string {
	cut, known := p.cuts[packet.pair]
	switch {
	case known && !cut.any:
		return "none had ever left"
	case known && int16(packet.sequence-cut.last) > 0:
		return fmt.Sprintf("the last that left was %d", cut.last)
	case known && packet.at.Sub(cut.at) > grace:
		return fmt.Sprintf("it was sent again, after %d", cut.last)
	case !known && packet.joined.After(first):
		return "the connection is younger than the word"
	case !known && packet.at.Sub(first) > grace:
		return "no packet is on its way for so long"
	}

	return ""
}

// TestJudge proves what the judge of all faults takes for a leak and for a word too
// much, and what not.
func TestJudge(t *testing.T) {
	origin := time.Now()
	at := func(milliseconds int) time.Time { return origin.Add(time.Duration(milliseconds) * time.Millisecond) }
	here, anew := pair{"alice", "bob"}, pair{"alice again", "bob"}
	packet := func(milliseconds int, sequence uint16) came {
		return came{arrival: arrival{at: at(milliseconds), sequence: sequence}, pair: here, joined: origin}
	}
	rejoined := packet(120, 1)
	rejoined.pair, rejoined.joined = anew, at(110)
	said := []statement{{at: at(100), asked: at(90)}}
	cuts := map[pair]cut{here: {at: at(105), last: 65535, any: true}}

	for name, test := range map[string]struct {
		period                         period
		packets                        []came
		silences                       []silence
		leaked, overclaims, statements int
	}{
		"nobody said anything": {period{}, []came{packet(900, 9)}, nil, 0, 0, 0},
		"the last packets were on their way": {
			period{said: said, cuts: cuts}, []came{packet(99, 65533), packet(101, 65534), packet(130, 65535)}, nil, 0, 0, 1,
		},
		"a packet left after the word": {
			period{said: said, cuts: cuts}, []came{packet(130, 65535), packet(131, 0)}, nil, 1, 1, 1,
		},
		"none had ever left": {
			period{said: said, cuts: map[pair]cut{here: {at: at(105)}}}, []came{packet(101, 7)}, nil, 1, 1, 1,
		},
		"a packet was sent again": {
			period{said: said, cuts: cuts}, []came{packet(700, 65530)}, nil, 1, 1, 1,
		},
		"no number, but long after": {
			period{said: said}, []came{packet(599, 7), packet(601, 8)}, nil, 1, 1, 1,
		},
		"a connection that came later": {period{said: said, cuts: cuts}, []came{rejoined}, nil, 1, 1, 1},
		"it was over": {
			period{said: said, cuts: cuts, ended: at(125)}, []came{packet(131, 0)}, nil, 0, 0, 1,
		},
		"a word after the end": {
			period{said: said, ended: at(95)}, []came{packet(900, 9)}, nil, 0, 0, 0,
		},
		"two had said so, one later": {
			period{said: append(said, statement{at: at(110)}, statement{at: at(140)}), cuts: cuts},
			[]came{packet(131, 0)}, nil, 1, 2, 3,
		},
		"a word of something in silence": {
			period{said: said, cuts: cuts}, nil, []silence{{at(80), at(150)}}, 0, 1, 1,
		},
		"a word of something older in silence": {
			period{said: said, cuts: cuts}, nil, []silence{{at(95), at(150)}}, 0, 0, 1,
		},
		"a word after the silence": {
			period{said: said, cuts: cuts}, nil, []silence{{at(80), at(99)}}, 0, 0, 1,
		},
		"judged before": {
			period{said: said, cuts: cuts, judged: at(140)}, []came{packet(131, 0), packet(150, 1)}, nil, 1, 1, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := test.period.judge(at(2000), test.packets, test.silences)
			want := []int{test.leaked, test.overclaims, test.statements}
			got := []int{found.leaked, found.overclaims, found.statements}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("packets leaked, words too much, words judged (-want +got):\n%s%v", diff, found.findings)
			}
		})
	}
}
