package forwarding_test

import (
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// sending is a projection with its history, kept as a caller keeps them.
type sending struct {
	projection forwarding.Projection
	history    forwarding.History
}

func (s *sending) decide(p forwarding.Packet) forwarding.Decision {
	layer, flows := s.projection.Layer()
	before, _ := s.projection.LastSequenceNumber()
	d := decide(&s.projection, p)
	if d.Action == forwarding.Start {
		if !flows || layer == p.Layer {
			s.history.Cut()
		}
		s.history.Start(forwarding.Beginning{Packet: p, Header: d.Header, Before: before})
	}

	return d
}

func (s *sending) find(outgoing uint16) (forwarding.Origin, bool) {
	highest, _ := s.projection.LastSequenceNumber()

	return s.history.Find(outgoing, highest)
}

// Hazard 4: what was sent before a cut is not sent again after it; what was sent of
// another layer is.
func TestHistory(t *testing.T) {
	s := &sending{projection: forwarding.NewProjection(media.Video, 65535)}
	send := func(layer media.Layer, in uint64, key, marker bool) {
		s.decide(forwarding.Packet{SequenceNumber: in, Timestamp: uint32(in), Layer: layer, KeyframeStart: key,
			Marker: marker})
	}
	check := func(out uint16, layer media.Layer, in uint64, ok bool) {
		t.Helper()
		if got, gotOK := s.find(out); gotOK != ok || ok &&
			(got.SequenceNumber != in || got.Layer != layer || uint16(got.Number) != out) {
			t.Errorf("Find(%d) = %+v, %v; want %d of layer %d, %v", out, got, gotOK, in, layer, ok)
		}
	}
	check(65535, 0, 0, false)
	send(0, 1000, true, false)
	send(0, 1002, false, false)
	check(65534, 0, 0, false)
	check(65535, 0, 1000, true)
	check(0, 0, 1001, true) // lost on the way to us; should it arrive late it has this number
	check(1, 0, 1002, true)
	check(2, 0, 0, false)
	s.projection.Want(2)
	send(2, 50, true, true)
	check(1, 0, 1002, true)
	check(2, 0, 0, false) // left out after the half frame
	check(3, 2, 50, true)
	s.projection.Withhold(forwarding.Paused)
	s.projection.Release(forwarding.Paused)
	send(2, 60, true, true)
	check(1, 0, 0, false)
	check(3, 0, 0, false)
	check(4, 2, 60, true)
	for i := range uint64(20) { // more changes than are remembered
		layer := media.Layer(i % 2)
		s.projection.Want(layer)
		send(layer, 100+i, true, true)
	}
	check(4, 0, 0, false)
	check(5+15, 0, 0, false)
	check(5+16, 0, 116, true)
	check(5+19, 1, 119, true)
}

// A number is told apart from those of half the range ago and before, whatever the gaps.
func TestHistoryIsNotAmbiguous(t *testing.T) {
	s := &sending{projection: forwarding.NewProjection(media.Video, 1)}
	s.decide(forwarding.Packet{SequenceNumber: 1 << 16, KeyframeStart: true, Marker: true})
	for i := range uint64(40) {
		s.decide(forwarding.Packet{SequenceNumber: 1<<16 + (i+1)*3000, Marker: true})
	}
	highest, _ := s.projection.LastSequenceNumber()
	if got, ok := s.find(uint16(highest - 1<<15)); ok {
		t.Errorf("found %+v, half the range ago", got)
	}
	if got, ok := s.find(uint16(highest - 1<<15 + 1)); !ok || got.Number != highest-1<<15+1 {
		t.Errorf("found %+v, %v; want number %d", got, ok, highest-1<<15+1)
	}
}
