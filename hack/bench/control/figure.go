//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one line of output. Bound is what the project set itself; absent:
// shown for comparison.
type figure struct {
	Measure     string             `json:"measure"`
	What        string             `json:"what"`
	Unit        string             `json:"unit"`
	Value       float64            `json:"value"`
	Bound       *float64           `json:"bound,omitempty"`
	AtLeast     bool               `json:"at_least,omitempty"`
	Samples     int                `json:"samples,omitempty"`
	Detail      map[string]float64 `json:"detail,omitempty"`
	GitRevision string             `json:"git_revision"`
}

func (f figure) verdict() string {
	switch {
	case f.Bound == nil:
		return ""
	case f.Value <= *f.Bound && !f.AtLeast, f.Value >= *f.Bound && f.AtLeast:
		return "pass"
	default:
		return "fail"
	}
}

func bound(value float64) *float64 { return &value }

// note prints a figure and keeps it for the table.
func (b *bench) note(f figure) {
	f.GitRevision = b.revision
	f.Value = rounded(f.Value)
	for name, value := range f.Detail {
		f.Detail[name] = rounded(value)
	}
	b.figures = append(b.figures, f)
	_ = b.output.Encode(f) // Whoever closed the output wants no more.
}

// say tells on the error output how far it is.
func (b *bench) say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, arguments...)...)
}

func (b *bench) printTable(out io.Writer) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "\nmeasure\twhat\tmeasured\tbound\tverdict")
	for _, f := range b.figures {
		limit := "-"
		if f.Bound != nil {
			limit = fmt.Sprintf("≤ %g", *f.Bound)
			if f.AtLeast {
				limit = fmt.Sprintf("≥ %g", *f.Bound)
			}
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%.2f %s\t%s\t%s\n", f.Measure, f.What, f.Value, f.Unit, limit, f.verdict())
	}
	_ = t.Flush()
}

// missed is an error when a bound was not kept.
func (b *bench) missed() error {
	var names []string
	for _, f := range b.figures {
		if f.verdict() == "fail" {
			names = append(names, f.Measure+": "+f.What)
		}
	}
	if len(names) == 0 {
		return nil
	}

	return fmt.Errorf("bounds not kept: %s", strings.Join(names, "; "))
}

// rounded keeps four decimals, which is more than any figure here deserves.
func rounded(value float64) float64 { return math.Round(value*1e4) / 1e4 }

// durations are samples of one thing.
type durations []time.Duration

// percentile is by rank: the smallest sample that p of 100 are not above.
func (d durations) percentile(p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	rank := int(math.Ceil(p/100*float64(len(sorted)))) - 1

	return sorted[max(rank, 0)]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// spread is the percentiles for a figure's detail.
func (d durations) spread(prefix string, detail map[string]float64) map[string]float64 {
	if detail == nil {
		detail = map[string]float64{}
	}
	detail[prefix+"p50"], detail[prefix+"p99"] = milliseconds(d.percentile(50)), milliseconds(d.percentile(99))
	detail[prefix+"max"] = milliseconds(d.percentile(100))

	return detail
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return math.NaN()
	}

	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func revision(ctx context.Context, root string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}

	return strings.TrimSpace(string(out))
}

// bench is one run.
type bench struct {
	options  options
	revision string
	output   *json.Encoder
	figures  []figure

	system *system
	fleet  *fleet
}
