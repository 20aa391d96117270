//go:build linux

package main

import (
	"math"
	"time"
)

// result is one run. Packets are RTP packets with a payload. What is a pointer is
// absent where it is not known.
type result struct {
	Server          string   `json:"server"`
	Case            string   `json:"case"`
	Run             int      `json:"run"`
	Senders         int      `json:"senders"`
	Receivers       int      `json:"receivers"`
	PausedReceivers int      `json:"paused_receivers"`
	Workers         int      `json:"workers,omitempty"`
	PacketsPerFrame int      `json:"packets_per_frame"`
	Seconds         float64  `json:"seconds"`
	PPS             float64  `json:"pps"`
	Incoming        uint64   `json:"incoming"`
	Forwarded       uint64   `json:"forwarded"`
	Loss            int64    `json:"loss"`
	PausedReceived  uint64   `json:"paused_received"`
	Feedback        string   `json:"feedback"`
	FeedbackSent    uint64   `json:"feedback_sent"`
	CPUSeconds      float64  `json:"cpu_seconds"`
	CoresUsed       float64  `json:"cores_used"`
	CPUPerPacket    *float64 `json:"cpu_us_per_packet"`
	CPUPerIncoming  *float64 `json:"cpu_us_per_incoming"`
	DelayP50        *float64 `json:"delay_p50_us,omitempty"`
	DelayP99        *float64 `json:"delay_p99_us,omitempty"`
	DelayMax        *float64 `json:"delay_max_us,omitempty"`
	PerReceiveCall  *float64 `json:"datagrams_per_receive_call,omitempty"`
	PerMessage      *float64 `json:"datagrams_per_message,omitempty"`
	PerSendCall     *float64 `json:"datagrams_per_send_call,omitempty"`
	RSS             float64  `json:"rss_mb"`
	HeapAndStack    *float64 `json:"heap_and_stack_mb,omitempty"`
	SRTPProfile     string   `json:"srtp_profile"`
	GitRevision     string   `json:"git_revision"`
}

// reading is every counter at one moment.
type reading struct {
	sent, received statistics
	cpu            time.Duration
	metrics        metrics
}

func newResult(c scenario, first, last reading, elapsed time.Duration) result {
	receivers := c.receivers
	if c.conference {
		receivers = c.senders
	}
	cpu, sent := last.cpu-first.cpu, last.sent.Sent-first.sent.Sent
	r := result{
		Case: c.name, Senders: c.senders, Receivers: receivers, PausedReceivers: c.paused, Workers: c.workers,
		PacketsPerFrame: len(c.frame),
		Seconds:         *rounded(elapsed.Seconds()),
		Incoming:        sent + last.sent.Silent - first.sent.Silent,
		Forwarded:       last.received.Received - first.received.Received,
		PausedReceived:  last.received.PausedReceived - first.received.PausedReceived,
		Feedback:        feedbackKind, FeedbackSent: last.received.Feedback - first.received.Feedback,
		CPUSeconds: *rounded(cpu.Seconds()), CoresUsed: *rounded(cpu.Seconds() / elapsed.Seconds()),
		PerReceiveCall: meanBetween(first.metrics, last.metrics, "datagrams_received_total", "receive_calls_total"),
		PerMessage:     meanBetween(first.metrics, last.metrics, "datagrams_sent_total", "messages_sent_total"),
		PerSendCall:    meanBetween(first.metrics, last.metrics, "datagrams_sent_total", "send_calls_total"),
	}
	r.PPS = *rounded(float64(r.Forwarded) / r.Seconds)
	r.Loss = int64(sent)*int64(c.edges()) - int64(r.Forwarded) //nolint:gosec // Far below 2^63.
	r.CPUPerPacket = microsecondsEach(cpu, r.Forwarded)
	r.CPUPerIncoming = microsecondsEach(cpu, r.Incoming)
	if d := summarizeDelays(first.received.Delays, last.received.Delays); d != nil {
		r.DelayP50, r.DelayP99, r.DelayMax = microsecondsEach(d.p50, 1), microsecondsEach(d.p99, 1),
			microsecondsEach(d.max, 1)
	}
	if heap, ok := last.metrics["go_memstats_heap_inuse_bytes"]; ok {
		r.HeapAndStack = rounded((heap + last.metrics["go_memstats_stack_inuse_bytes"]) / (1 << 20))
	}

	return r
}

func microsecondsEach(d time.Duration, count uint64) *float64 {
	if count == 0 {
		return nil
	}

	return rounded(float64(d) / float64(time.Microsecond) / float64(count))
}

// rounded keeps four decimals, which is more than any figure here deserves.
func rounded(figure float64) *float64 {
	figure = math.Round(figure*1e4) / 1e4

	return &figure
}
