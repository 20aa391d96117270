//go:build linux

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// The target: the raw latency of the API server in the same run, and this much
// more.
const (
	marginP50Microseconds = 3_000
	marginP99Microseconds = 15_000
)

// printPauseTable prints a row for each way; raw is nil where ours was not
// measured.
func printPauseTable(w io.Writer, all []waySummary, raw *yardsticks) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "\nms, p50 / p99\trounds\tpause → answer\t→ last packet\t→ first withheld\t"+
		"packets after answer\tresume → keyframe request\t→ keyframe\tdeltas before it\tbad gaps\tnew SSRC\taudio missing")
	for _, s := range all {
		_, _ = fmt.Fprintf(t, "%s %s\t%d\t%s\t%s\t%s\t%d (most %d)\t%s\t%s\t%d\t%d\t%d\t%d\n", s.Server, s.Way, s.Rounds,
			s.Answer, s.LastPacket, s.FirstWithheld, s.PacketsAfterAnswer, s.MostAfterAnswer,
			s.KeyframeRequest, s.Keyframe, s.PacketsBeforeKeyframe, s.BadGaps, s.SSRCChanges, s.AudioMissing)
	}
	if raw != nil {
		_, _ = fmt.Fprintln(t, "\nwhere ours goes\trounds\trequest → watch event\tenforcing\t→ answer\t"+
			"resume → answer\tacknowledged\tpackets beyond\tcuts inside a frame")
		for _, s := range all {
			if s.Acknowledged > 0 {
				_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", s.Way, s.Rounds,
					s.WatchEvent, s.Enforcing, s.Answer, s.ResumeAnswer, s.Acknowledged, s.PacketsBeyond, s.CutsInsideFrame)
			}
		}
		_, _ = fmt.Fprintf(t, "API server alone\t%d\tcreate → watch %s\tdelete → watch %s\tetcd's fsync, mean %s of %d\n",
			raw.Rounds, raw.CreateToWatch, raw.DeleteToWatch, milliseconds(&raw.Fsync), raw.Fsyncs)
	}
	_ = t.Flush()
	if raw != nil {
		printVerdicts(w, all, *raw)
	}
}

// printVerdicts compares with the API server of the same run.
func printVerdicts(w io.Writer, all []waySummary, raw yardsticks) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "\ntarget\tp50\tat most\t\tp99\tat most\t")
	row := func(name string, is, base span) {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", name, compare(is.P50, base.P50, marginP50Microseconds),
			compare(is.P99, base.P99, marginP99Microseconds))
	}
	for _, s := range all {
		switch {
		case s.Server != "nagi":
		case s.Way == "post":
			row("POST → last packet", s.LastPacket, raw.CreateToWatch)
			row("POST → answer (nothing comes after it; no frame rate flatters it)", s.Answer, raw.CreateToWatch)
			row("POST to resume → keyframe request", s.KeyframeRequest, raw.DeleteToWatch)
		default:
			row("create → last packet", s.LastPacket, raw.CreateToWatch)
			row("delete → keyframe request", s.KeyframeRequest, raw.DeleteToWatch)
		}
	}
	_ = t.Flush()
}

func compare(is, base *int64, margin int64) string {
	if is == nil || base == nil {
		return "-\t-\t-"
	}
	most, verdict := *base+margin, "pass"
	if *is > most {
		verdict = "FAIL"
	}

	return milliseconds(is) + "\t" + milliseconds(&most) + "\t" + verdict
}

// broken lists what ours must never do, however slow the machine is.
func broken(all []waySummary) []error {
	var problems []error
	for _, s := range all {
		if s.Server != "nagi" {
			continue
		}
		says := func(n int, what string) {
			if n != 0 {
				problems = append(problems, fmt.Errorf("nagi, %s: %d %s", s.Way, n, what))
			}
		}
		if s.Way == "post" {
			says(s.PacketsAfterAnswer, "packets came after the answer")
		}
		says(s.PacketsBeyond, "packets came beyond the acknowledged last one")
		says(s.Rounds-s.Acknowledged, "rounds without an acknowledged last packet")
		says(s.BadGaps, "rounds left a gap in the sequence numbers that is not the deliberate one")
		says(s.SSRCChanges, "rounds changed the SSRC")
		says(s.PacketsBeforeKeyframe, "packets came before the keyframe")
		says(s.AudioMissing, "audio packets are missing")
	}

	return problems
}

func (s span) String() string { return milliseconds(s.P50) + " / " + milliseconds(s.P99) }

func milliseconds(us *int64) string {
	if us == nil {
		return "-"
	}

	return fmt.Sprintf("%.1f", float64(*us)/1000)
}
