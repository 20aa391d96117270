package fanout_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

var errNoRoom = errors.New("no room in the batch")

// wire is a receiver that writes whole RTP packets into the batch, as the transport
// does, though without encryption.
type wire struct {
	worker int
	ssrc   uint32
	to     *udp.Destination
}

func (w *wire) Worker() int { return w.worker }

func (w *wire) WriteRTP(batch *udp.Batch, p *media.Outgoing) error {
	datagram := batch.Append(w.to, 12+len(p.Payload)+int(p.Padding))
	if datagram == nil {
		return errNoRoom
	}
	datagram[0], datagram[1] = 0x80, 96
	if p.Marker {
		datagram[1] |= 0x80
	}
	binary.BigEndian.PutUint16(datagram[2:], p.SequenceNumber)
	binary.BigEndian.PutUint32(datagram[4:], p.Timestamp)
	binary.BigEndian.PutUint32(datagram[8:], w.ssrc)
	n := copy(datagram[12:], p.Payload)
	p.Patch.Apply(datagram[12:])
	clear(datagram[12+n:])
	if p.Padding != 0 {
		datagram[0] |= 0x20
		datagram[len(datagram)-1] = p.Padding
	}

	return nil
}

func (w *wire) ResendRTP(batch *udp.Batch, p *media.Outgoing) error {
	return w.WriteRTP(batch, p)
}

func (w *wire) WritePadding(batch *udp.Batch, p *media.Outgoing, size uint8) error {
	padding := media.Outgoing{SequenceNumber: p.SequenceNumber, Payload: []byte("padding"), Padding: size}

	return w.WriteRTP(batch, &padding)
}

func (w *wire) WriteSenderReport(batch *udp.Batch, _ uint64, _ uint32, _, _ uint32) error {
	if batch.Append(w.to, 64) == nil {
		return errNoRoom
	}

	return nil
}

func (w *wire) SSRC() uint32 { return w.ssrc }

// network keeps what batches hand over, in that order.
type network struct {
	mu        sync.Mutex
	datagrams [][]byte
}

func (n *network) send(datagram []byte, _ *udp.Destination) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.datagrams = append(n.datagrams, append([]byte{}, datagram...))
}

// numbers are the sequence numbers that the receiver with the SSRC got.
func (n *network) numbers(ssrc uint32) (numbers []uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.datagrams {
		if binary.BigEndian.Uint32(d[8:]) == ssrc {
			numbers = append(numbers, binary.BigEndian.Uint16(d[2:]))
		}
	}

	return numbers
}

// held are workers whose jobs wait for the test.
type held struct {
	network network
	batches []*udp.Batch
	jobs    [][]udp.Job
}

func holdWorkers(workers int) *held {
	h := &held{jobs: make([][]udp.Job, workers)}
	for i := range workers {
		h.batches = append(h.batches, udp.NewBatch(i, h.network.send))
	}

	return h
}

func (h *held) Workers() int { return len(h.jobs) }

func (h *held) Post(worker int, job udp.Job) { h.jobs[worker] = append(h.jobs[worker], job) }

// Quiesce has nothing to wait for: the test is where the batches are filled.
func (h *held) Quiesce() {}

// run runs the worker's jobs.
func (h *held) run(t *testing.T, worker, want int) {
	t.Helper()
	if n := len(h.jobs[worker]); n != want {
		t.Fatalf("%d jobs posted to worker %d, want %d", n, worker, want)
	}
	for _, job := range h.jobs[worker] {
		job.Run(h.batches[worker])
		h.batches[worker].Flush()
	}
	h.jobs[worker] = nil
}
