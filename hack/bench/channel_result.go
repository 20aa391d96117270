//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// channelResult is one channel of one round.
type channelResult struct {
	Bench       string `json:"bench"`
	Kind        string `json:"kind"`
	Connections int    `json:"connections"`
	Senders     int    `json:"senders"`
	Edges       int    `json:"edges"`
	Round       int    `json:"round"`
	// Of the filling.
	JoinsPerSecond float64 `json:"joins_per_second"`
	FillReoffers   int64   `json:"fill_reoffers"`
	FillCPU        float64 `json:"fill_cpu_seconds"`
	// Of the coming and going in the full channel.
	Churn            int      `json:"churn"`
	Reoffers         int64    `json:"reoffers"`
	ReofferLines     int64    `json:"reoffer_m_lines"`
	CPUPerJoin       float64  `json:"cpu_ms_per_join"`
	CPUPerLeave      float64  `json:"cpu_ms_per_leave"`
	CPUPerLine       *float64 `json:"cpu_us_per_reoffer_m_line"`
	ResidentPerEdge  float64  `json:"rss_kb_per_edge"`
	LivePerEdge      float64  `json:"live_kb_per_edge"`
	IdleCores        float64  `json:"idle_cores"`
	ResidentMegabyte float64  `json:"rss_mb"`
	GitRevision      string   `json:"git_revision"`
}

// measure fills the channel, lets its last client leave and come again churn times, and waits for a
// collection of the server's garbage, to learn what is in use.
func (c *channelCrowd) measure(ctx context.Context, size, churn int) (channelResult, error) {
	r := channelResult{
		Bench:       "channel",
		Kind:        c.kind.name,
		Connections: size,
		Senders:     c.kind.senders,
		Edges:       c.kind.edges(size),
		Churn:       churn,
	}
	if r.Senders == 0 {
		r.Senders = size
	}
	emptyResident, err := c.server.process.residentMegabytes()
	if err != nil {
		return r, err
	}
	empty, _, err := c.live(ctx)
	if err != nil {
		return r, err
	}
	var filling channelPart
	if err := c.measured(&filling, 0, func() error { return c.fill(size) }); err != nil {
		return r, err
	}
	r.JoinsPerSecond = *rounded(float64(size) / filling.elapsed.Seconds())
	r.FillReoffers, r.FillCPU = filling.reoffers, *rounded(filling.cpu.Seconds())
	idle, err := c.idle()
	if err != nil {
		return r, err
	}
	joining, leaving, err := c.churn(churn, idle)
	if err != nil {
		return r, err
	}
	r.IdleCores = *rounded(idle)
	r.CPUPerJoin, r.CPUPerLeave = millisecondsEach(joining.cpu, churn), millisecondsEach(leaving.cpu, churn)
	r.Reoffers, r.ReofferLines = joining.reoffers+leaving.reoffers, joining.lines+leaving.lines
	r.CPUPerLine = microsecondsEach(joining.cpu+leaving.cpu, uint64(r.ReofferLines)) //nolint:gosec // Not negative.
	if r.ResidentMegabyte, err = c.server.process.residentMegabytes(); err != nil {
		return r, err
	}
	live, err := c.collected(ctx)
	r.ResidentPerEdge = *rounded((r.ResidentMegabyte - emptyResident) * 1024 / float64(r.Edges))
	r.LivePerEdge = *rounded((live - empty) / 1024 / float64(r.Edges))

	return r, err
}

func (c *channelCrowd) churn(times int, idle float64) (joining, leaving channelPart, err error) {
	last := len(c.clients) - 1
	for range times {
		if err = c.measured(&leaving, idle, func() error {
			c.leave(last)

			return nil
		}); err != nil {
			return joining, leaving, err
		}
		if err = c.measured(&joining, idle, func() error { return c.join(last) }); err != nil {
			return joining, leaving, err
		}
	}

	return joining, leaving, nil
}

// collected is the server's memory in use with all clients there, as the first collection
// has it that begins from now on. The clients' coming and going brings that about.
func (c *channelCrowd) collected(ctx context.Context) (float64, error) {
	const collections = "go_gc_duration_seconds_count"
	_, first, err := c.live(ctx)
	if err != nil {
		return 0, err
	}
	for {
		live, m, err := c.live(ctx)
		if err != nil || m[collections] > first[collections] {
			return live, err
		}
		if _, _, err := c.churn(1, 0); err != nil {
			return 0, err
		}
	}
}

func millisecondsEach(d time.Duration, count int) float64 {
	return *rounded(float64(d) / float64(time.Millisecond) / float64(count))
}

// printChannelTables prints the medians, and what they make of the targets.
func printChannelTables(w io.Writer, results []channelResult) error {
	type key struct {
		kind        string
		connections int
	}
	var keys []key
	runs := map[key][]channelResult{}
	for _, r := range results {
		k := key{r.Kind, r.Connections}
		if runs[k] == nil {
			keys = append(keys, k)
		}
		runs[k] = append(runs[k], r)
	}
	median := func(k key, figure func(channelResult) *float64) float64 {
		var values []float64
		for _, r := range runs[k] {
			if value := figure(r); value != nil {
				values = append(values, *value)
			}
		}
		if m := medianOf(values); m != nil {
			return *m
		}

		return 0
	}
	perJoin := func(r channelResult) *float64 { return &r.CPUPerJoin }
	perLine := func(r channelResult) *float64 { return r.CPUPerLine }
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "\nkind\tconnections\tedges\trounds\tjoins/s\tCPU ms/join\tCPU ms/leave\t"+
		"µs/(re-offer × m-line)\tlive KB/edge\tRSS KB/edge")
	for _, k := range keys {
		_, _ = fmt.Fprintf(t,
			"%s\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.2f\t%.1f\t%.1f\n", k.kind, k.connections, runs[k][0].Edges, len(runs[k]),
			median(k, func(r channelResult) *float64 { return &r.JoinsPerSecond }), median(k, perJoin),
			median(k, func(r channelResult) *float64 { return &r.CPUPerLeave }), median(k, perLine),
			median(k, func(r channelResult) *float64 { return &r.LivePerEdge }),
			median(k, func(r channelResult) *float64 { return &r.ResidentPerEdge }))
	}
	small, large := key{"sendrecv", 50}, key{"sendrecv", 200}
	if runs[small] != nil && runs[large] != nil {
		_, _ = fmt.Fprintf(t,
			"\nCPU per (re-offer × m-line), 200 to 50\t%.2f\tat most 1.3\n", median(large, perLine)/median(small, perLine))
		_, _ = fmt.Fprintf(t, "live memory of an edge at 200, KB\t%.1f\tat most 16\n",
			median(large, func(r channelResult) *float64 { return &r.LivePerEdge }))
	}
	small, large = key{"recvonly", 50}, key{"recvonly", 200}
	if runs[small] != nil && runs[large] != nil {
		_, _ = fmt.Fprintf(t,
			"CPU of a recvonly join, 200 to 50\t%.2f\tat most 1.5\n", median(large, perJoin)/median(small, perJoin))
		_, _ = fmt.Fprintf(t,
			"of it for each further one who is told, µs\t%.1f\n", 1000*(median(large, perJoin)-median(small, perJoin))/150)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the tables: %w", err)
	}

	return nil
}
