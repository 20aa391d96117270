//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// summary is all runs, by case and server.
type summary struct {
	keys []summaryKey // In the order in which they first ran.
	runs map[summaryKey][]result
}

type summaryKey struct{ scenario, server string }

func summarize(results []result) summary {
	s := summary{runs: map[summaryKey][]result{}}
	for _, r := range results {
		k := summaryKey{r.Case, r.Server}
		if s.runs[k] == nil {
			s.keys = append(s.keys, k)
		}
		s.runs[k] = append(s.runs[k], r)
	}

	return s
}

// readResults reads the lines that runs have printed; other lines, such as
// tables, are skipped.
func readResults(input io.Reader) ([]result, error) {
	var results []result
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		line := bytes.TrimSpace(lines.Bytes())
		if !bytes.HasPrefix(line, []byte("{")) {
			continue
		}
		var r result
		if err := json.Unmarshal(line, &r); err != nil {
			return nil,
				fmt.Errorf("line %d is no result: %w; remove it, or give the lines of bench-forwarding only", number, err)
		}
		if r.Case != "" && r.Server != "" {
			results = append(results, r)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}

	return results, nil
}

// figure is one of a run's; nil: the run has none.
type figure func(result) *float64

// median is over the runs that have the figure; nil: none has.
func (s summary) median(scenario, server string, f figure) *float64 {
	var values []float64
	for _, r := range s.runs[summaryKey{scenario, server}] {
		if value := f(r); value != nil {
			values = append(values, *value)
		}
	}

	return medianOf(values)
}

func medianOf(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	n := len(values)
	middle := (values[(n-1)/2] + values[n/2]) / 2

	return &middle
}

func (s summary) lost(k summaryKey) int64 {
	var lost int64
	for _, r := range s.runs[k] {
		lost += r.Loss
	}

	return lost
}

// The figures that tables show.
var (
	perPacket   figure = func(r result) *float64 { return r.CPUPerPacket }
	perIncoming figure = func(r result) *float64 { return r.CPUPerIncoming }
	delayP99    figure = func(r result) *float64 { return r.DelayP99 }
	coresUsed   figure = func(r result) *float64 { return &r.CoresUsed }
	rss         figure = func(r result) *float64 { return &r.RSS }
	heap        figure = func(r result) *float64 { return r.HeapAndStack }
	lostPercent figure = func(r result) *float64 { //nolint:gosec // Far below 2^63.
		return rounded(100 * float64(r.Loss) / float64(int64(r.Forwarded)+r.Loss))
	}
)

// printMedians prints one row for each server in each case.
func (s summary) printMedians(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "\ncase\tserver\truns\tpps\tlost (all runs)\tµs/packet\tµs/incoming\tcores\t"+
		"delay p50 µs\tp99\tmax\tper receive\tper message\tper send\tRSS MB")
	for _, k := range s.keys {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d", k.scenario, k.server, len(s.runs[k]))
		for _, column := range []struct {
			format string
			figure figure
		}{
			{"%.0f", func(r result) *float64 { return &r.PPS }},
			{"lost", nil},
			{"%.2f", perPacket}, {"%.2f", perIncoming}, {"%.2f", coresUsed},
			{"%.0f", func(r result) *float64 { return r.DelayP50 }}, {"%.0f", delayP99},
			{"%.0f", func(r result) *float64 { return r.DelayMax }},
			{"%.1f", func(r result) *float64 { return r.PerReceiveCall }},
			{"%.1f", func(r result) *float64 { return r.PerMessage }},
			{"%.1f", func(r result) *float64 { return r.PerSendCall }},
			{"%.1f", rss},
		} {
			cell := "-"
			if column.figure == nil {
				cell = fmt.Sprint(s.lost(k))
			} else if m := s.median(k.scenario, k.server, column.figure); m != nil {
				cell = fmt.Sprintf(column.format, *m)
			}
			_, _ = fmt.Fprint(t, "\t", cell)
		}
		_, _ = fmt.Fprintln(t)
	}
	_ = t.Flush()
}
