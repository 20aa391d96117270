package fanout

import (
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// Sink is the transport to one receiver for one stream. Its calls append to the batch:
// what they wrote leaves with the batch, which they never flush. They run under a lock
// of the projection's, so they neither wait nor call back into the projection.
type Sink interface {
	// Worker is the worker whose goroutine fans out to the receiver. It never
	// changes.
	Worker() int
	// WriteRTP appends one packet, which is valid only during the call.
	WriteRTP(batch *udp.Batch, packet *media.Outgoing) error
	// ResendRTP is WriteRTP for a packet that was written before: on the
	// retransmission stream (RFC 4588) where one is negotiated, else it must make the
	// same bytes once more.
	ResendRTP(batch *udp.Batch, packet *media.Outgoing) error
	// WritePadding appends a packet of so many bytes of padding alone to the
	// retransmission stream, with the send time and timestamp of the packet. Where none is
	// negotiated there is an error.
	WritePadding(batch *udp.Batch, packet *media.Outgoing, size uint8) error
	// WriteSenderReport appends a sender report (RFC 3550 section 6.4.1): NTP time in
	// its 64-bit format, RTP time, packets and payload octets sent so far.
	WriteSenderReport(batch *udp.Batch, ntpTime uint64, rtpTime uint32, packetCount, octetCount uint32) error
	// SSRC is the stream's SSRC towards the receiver, 0 before it is negotiated.
	SSRC() uint32
}

// Workers are the goroutines whose batches packets leave in; *udp.Socket has them.
type Workers interface {
	// Workers is how many there are.
	Workers() int
	// Post has a worker run the job, behind those posted to it before, and flush its
	// batch.
	Post(worker int, job udp.Job)
	// Quiesce returns when every batch that was being filled has been handed to the
	// kernel. Not to be called by a worker.
	Quiesce()
}

// alone stands for workers where the caller flushes its batches itself.
type alone struct{}

func (alone) Workers() int      { return 1 }
func (alone) Post(int, udp.Job) {}
func (alone) Quiesce()          {}
