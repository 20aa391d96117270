//go:build linux

package main

import (
	"testing"
	"time"
)

func TestDelayBuckets(t *testing.T) {
	last := -1
	for ns := int64(0); ns < int64(time.Minute); ns += 1 + ns/50 {
		bucket := delayBucket(uint64(ns))
		if bucket < last {
			t.Fatalf("%d ns is in bucket %d, below that of a shorter delay, %d", ns, bucket, last)
		}
		last = bucket
		if upper := delayOf(bucket); int64(upper) < ns || int64(upper) > ns+ns/30+1 {
			t.Fatalf("%d ns is shown as %d ns", ns, upper)
		}
	}
}

func TestSummarizeDelays(t *testing.T) {
	var d delays
	d.add(int64(time.Hour)) // Before the first reading: not counted.
	first := d.counts()
	for i := range 100 {
		d.add(int64(i) * int64(time.Millisecond))
	}
	s := summarizeDelays(first, d.counts())
	for _, c := range []struct{ got, want time.Duration }{
		{s.p50, 50 * time.Millisecond}, {s.p99, 99 * time.Millisecond}, {s.max, 99 * time.Millisecond},
	} {
		if c.got < c.want || c.got > c.want+c.want/30 {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	if summarizeDelays(d.counts(), d.counts()) != nil {
		t.Error("a summary of nothing")
	}
}

func TestArrivals(t *testing.T) {
	var a arrivals
	packet := func(ssrc, sequence byte) []byte { return []byte{0x80, 96, 0, sequence, 0, 0, 0, 0, 0, 0, 0, ssrc} }
	a.note(packet(1, 1), 10)
	a.note(packet(2, 1), 20)
	for _, c := range []struct {
		packet []byte
		want   int64
	}{{packet(1, 1), 10}, {packet(2, 1), 20}, {packet(1, 2), 0}} {
		if got := a.of(c.packet); got != c.want {
			t.Errorf("%v arrived at %d, want %d", c.packet, got, c.want)
		}
	}
}
