//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// result is one run. Packets are RTP packets with a payload.
type result struct {
	Server          string   `json:"server"`
	Case            string   `json:"case"`
	Run             int      `json:"run"`
	Senders         int      `json:"senders"`
	Receivers       int      `json:"receivers"`
	PausedReceivers int      `json:"paused_receivers"`
	PacketsPerFrame int      `json:"packets_per_frame"`
	Seconds         float64  `json:"seconds"`
	PPS             float64  `json:"pps"`
	Incoming        uint64   `json:"incoming"`
	Forwarded       uint64   `json:"forwarded"`
	Loss            int64    `json:"loss"`
	PausedReceived  uint64   `json:"paused_received"`
	CPUSeconds      float64  `json:"cpu_seconds"`
	CPUPerPacket    *float64 `json:"cpu_us_per_packet"`
	CPUPerIncoming  float64  `json:"cpu_us_per_incoming"`
	RSS             float64  `json:"rss_mb"`
	SRTPProfile     string   `json:"srtp_profile"`
	GitRevision     string   `json:"git_revision"`
}

func newResult(c scenario, first, last reading, elapsed time.Duration, memory float64) result {
	receivers := c.receivers
	if c.conference {
		receivers = c.senders
	}
	cpu := last.cpu - first.cpu
	r := result{
		Senders: c.senders, Receivers: receivers, PausedReceivers: c.paused, PacketsPerFrame: len(c.frame),
		Seconds:        elapsed.Seconds(),
		Incoming:       last.sent.Sent - first.sent.Sent,
		Forwarded:      last.received.Received - first.received.Received,
		PausedReceived: last.received.PausedReceived - first.received.PausedReceived,
		CPUSeconds:     cpu.Seconds(), RSS: memory,
	}
	r.PPS = float64(r.Forwarded) / r.Seconds
	r.Loss = int64(r.Incoming)*int64(c.edges()) - int64(r.Forwarded) //nolint:gosec // Far below 2^63.
	microseconds := float64(cpu) / float64(time.Microsecond)
	if r.Incoming > 0 {
		r.CPUPerIncoming = microseconds / float64(r.Incoming)
	}
	if r.Forwarded > 0 {
		perPacket := microseconds / float64(r.Forwarded)
		r.CPUPerPacket = &perPacket
	}
	return r
}

// printTable prints the median of each server in each case, in the order in
// which they ran.
func printTable(w io.Writer, results []result) {
	type key struct{ scenario, server string }
	var keys []key
	groups := map[key][]result{}
	for _, r := range results {
		k := key{r.Case, r.Server}
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "\ncase\tserver\truns\tpps\tlost (all runs)\tµs/packet\tµs/incoming\tCPU %\tRSS MB")
	for _, k := range keys {
		group := groups[k]
		perPacket := "-"
		if group[0].CPUPerPacket != nil {
			perPacket = fmt.Sprintf("%.2f", median(group, func(r result) float64 { return *r.CPUPerPacket }))
		}
		var lost int64
		for _, r := range group {
			lost += r.Loss
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%.0f\t%d\t%s\t%.2f\t%.1f\t%.1f\n", k.scenario, k.server, len(group),
			median(group, func(r result) float64 { return r.PPS }), lost, perPacket,
			median(group, func(r result) float64 { return r.CPUPerIncoming }),
			median(group, func(r result) float64 { return 100 * r.CPUSeconds / r.Seconds }),
			median(group, func(r result) float64 { return r.RSS }))
	}
	_ = t.Flush()
}

// median ignores runs without the figure, which are runs without a packet.
func median(group []result, figure func(result) float64) float64 {
	var values []float64
	for _, r := range group {
		if r.CPUPerPacket == nil && group[0].CPUPerPacket != nil {
			continue
		}
		values = append(values, figure(r))
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}
