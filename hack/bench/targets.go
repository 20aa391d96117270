//go:build linux

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// What one packet of ours may cost, as a part of what it costs others.
const (
	floorRatio       = 1.5
	liveKitRatio     = 0.40
	janusRatio       = 0.30
	audioRatio       = 1.8  // Of the floor.
	conferenceRatio  = 0.45 // Of LiveKit.
	pauseRatio       = 1.10
	workersRatio     = 1.15
	kilobytesPerEdge = 60
	extraDelay       = 1000 // µs beyond what the burst itself takes.
	busyWorker       = 0.60 // Of a core: with less, two workers have nothing to share.
	bothCores        = 1.0
)

// target is one row of the closing table.
type target struct {
	what     string
	measured *float64 // nil: not measured.
	bound    *float64 // nil: there is none, it is shown for comparison.
	atLeast  bool     // The bound is from below.
	format   string
}

func (t target) verdict() string {
	switch {
	case t.bound == nil:
		return ""
	case *t.measured <= *t.bound && !t.atLeast, *t.measured >= *t.bound && t.atLeast:
		return "pass"
	}

	return "fail"
}

// targets are the figures that the project set itself, in the order of the
// benchmark's cases.
func (s summary) targets() []target {
	var all []target
	add := func(format, what string, measured *float64, bound float64) {
		all = append(all, target{what: what, measured: measured, bound: &bound, format: format})
	}
	addLeast := func(what string, measured *float64, bound float64) {
		all = append(all, target{what: what, measured: measured, bound: &bound, format: "%.2f", atLeast: true})
	}
	show := func(what string, measured *float64) {
		all = append(all, target{what: what, measured: measured, format: "%.2f"})
	}
	videoCases := []string{"10x20", "10x67", "50x20", "50x67", "50x4-equal", "50x4-uneven"}
	for _, peer := range []struct {
		server string
		bound  float64
	}{{"floor-gso", floorRatio}, {"livekit-batch", liveKitRatio}, {"janus", janusRatio}} {
		for _, c := range videoCases {
			add("%.2f", "CPU per packet ÷ "+peer.server+", "+c,
				ratio(s.median(c, "nagi", perPacket), s.median(c, peer.server, perPacket)), peer.bound)
		}
	}
	add("%.2f", "CPU per packet ÷ floor-gso, audio",
		ratio(s.median("audio", "nagi", perPacket), s.median("audio", "floor-gso", perPacket)), audioRatio)
	add("%.2f", "CPU per packet ÷ livekit-batch, conference",
		ratio(s.median("conference", "nagi", perPacket), s.median("conference", "livekit-batch", perPacket)), conferenceRatio)
	for _, c := range videoCases {
		add("%.0f", "p99 delay µs, "+c, s.median(c, "nagi", delayP99), s.delayBound(c))
	}
	add("%.0f", "packets lost where server and clients have a core each", s.lostByUs(), 0)
	for _, server := range []string{"nagi", "livekit-batch", "janus"} {
		for _, pair := range []struct{ what, paused, without string }{
			{"CPU with 49 of 50 paused ÷ without the 49", "paused-49-of-50", "paused-0-of-1"},
			{"CPU with 50 of 50 paused ÷ receiving alone", "paused-50-of-50", "alone"},
		} {
			measured := ratio(s.median(pair.paused, server, perIncoming), s.median(pair.without, server, perIncoming))
			if server == "nagi" {
				add("%.2f", pair.what, measured, pauseRatio)
			} else if measured != nil {
				show(pair.what+", "+server, measured)
			}
		}
	}
	add("%.1f", "kb_per_edge (heap and stacks)", s.kilobytesPerEdge(heap), kilobytesPerEdge)
	show("kb_per_edge by resident memory", s.kilobytesPerEdge(rss))
	add("%.2f", "CPU per packet, 2 workers ÷ 1",
		ratio(s.median("workers-2", "nagi", perPacket), s.median("workers-1", "nagi", perPacket)), workersRatio)
	for _, c := range []string{"conference", "audio"} {
		add("%.2f", "CPU per packet, 2 workers ÷ 1, "+c,
			ratio(s.median(c+"-workers-2", "nagi", perPacket), s.median(c+"-workers-1", "nagi", perPacket)), workersRatio)
	}
	addLeast("cores that the 1 worker used", s.median("workers-1", "nagi", coresUsed), busyWorker)
	show("cores that the 2 workers used at that rate", s.median("workers-2", "nagi", coresUsed))
	show("% of packets lost at that rate, 1 worker", s.median("workers-1", "nagi", lostPercent))
	show("% of packets lost at that rate, 2 workers", s.median("workers-2", "nagi", lostPercent))
	addLeast("cores that 2 workers use under full load", s.median("workers-2-full", "nagi", coresUsed), bothCores)

	return all
}

// delayBound is burst × receivers × cost per packet, plus what is allowed beyond.
func (s summary) delayBound(scenario string) float64 {
	c, _ := caseByName(scenario)
	cost := s.median(scenario, "nagi", perPacket)
	if cost == nil {
		return extraDelay
	}

	return float64(len(c.frame)*c.edges())**cost + extraDelay
}

// lostByUs is nil when nothing of ours was measured.
func (s summary) lostByUs() *float64 {
	var total *float64
	for _, k := range s.keys {
		c, known := caseByName(k.scenario)
		if k.server != "nagi" || known && c.unpinned {
			continue
		}
		lost := float64(s.lost(k))
		if total != nil {
			lost += *total
		}
		total = &lost
	}

	return total
}

// kilobytesPerEdge is what 10 more senders cost with 50 receivers, less what
// they cost without, by edge.
func (s summary) kilobytesPerEdge(megabytes figure) *float64 {
	var m [4]float64
	for i, name := range []string{"memory-11-to-50", "memory-1-to-50", "memory-11-to-0", "memory-1-to-0"} {
		median := s.median(name, "nagi", megabytes)
		if median == nil {
			return nil
		}
		m[i] = *median
	}
	const edges = 50 * 10
	perEdge := ((m[0] - m[1]) - (m[2] - m[3])) * 1024 / edges

	return &perEdge
}

func ratio(ours, theirs *float64) *float64 {
	if ours == nil || theirs == nil || *theirs == 0 {
		return nil
	}
	r := *ours / *theirs

	return &r
}

// printTargets prints one row for each target that was measured.
func (s summary) printTargets(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "\ntarget\tmeasured\tbound\tverdict")
	missing := 0
	for _, target := range s.targets() {
		if target.measured == nil {
			missing++

			continue
		}
		bound := "-"
		if target.bound != nil {
			bound = "≤ " + fmt.Sprintf(target.format, *target.bound)
			if target.atLeast {
				bound = "≥ " + fmt.Sprintf(target.format, *target.bound)
			}
		}
		_, _ = fmt.Fprintf(t, "%s\t"+target.format+"\t%s\t%s\n", target.what, *target.measured, bound, target.verdict())
	}
	_ = t.Flush()
	if missing > 0 {
		_, _ = fmt.Fprintf(w, "%d more figures were not measured\n", missing)
	}
}
