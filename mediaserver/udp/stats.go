package udp

import "sync/atomic"

// Stats are counts since Listen, over all workers.
type Stats struct {
	// DatagramsReceived is the datagrams that arrived, without those discarded.
	DatagramsReceived uint64
	// DatagramsDiscarded is the datagrams that arrived empty or with more than 2,048 bytes, which no peer sends.
	DatagramsDiscarded uint64
	// ReceiveCalls is the system calls that returned datagrams.
	ReceiveCalls uint64

	// DatagramsSent is the datagrams that the kernel took.
	DatagramsSent uint64
	// DatagramsRefused is the datagrams that the kernel did not take, and that are lost.
	DatagramsRefused uint64
	// MessagesSent is the passes through the kernel's network stack that DatagramsSent took: one for each train of
	// datagrams with segmentation offload, one for each datagram without.
	MessagesSent uint64
	// SendCalls is the system calls made to send.
	SendCalls uint64

	// Segmentation says whether trains of datagrams are sent as one message (UDP_SEGMENT), except to destinations for
	// which the kernel refuses it.
	Segmentation bool
	// Coalescing says whether trains of datagrams are received as one message (UDP_GRO).
	Coalescing bool
}

// counters are Stats as they are counted: once for each system call, so that their being shared costs nothing.
type counters struct {
	datagramsReceived, datagramsDiscarded, receiveCalls      atomic.Uint64
	datagramsSent, datagramsRefused, messagesSent, sendCalls atomic.Uint64
	segmentation, coalescing                                 atomic.Bool
}

// count counts a system call that sent messages with datagrams in them, or that lost them.
func (c *counters) count(sent bool, messages, datagrams int) {
	c.sendCalls.Add(1)
	if !sent {
		c.datagramsRefused.Add(uint64(datagrams))

		return
	}
	c.messagesSent.Add(uint64(messages))
	c.datagramsSent.Add(uint64(datagrams))
}

// Stats are the socket's counts. They are read without stopping anybody, so they are of slightly different moments.
func (s *Socket) Stats() Stats {
	c := &s.counters

	return Stats{
		DatagramsReceived:  c.datagramsReceived.Load(),
		DatagramsDiscarded: c.datagramsDiscarded.Load(),
		ReceiveCalls:       c.receiveCalls.Load(),
		DatagramsSent:      c.datagramsSent.Load(),
		DatagramsRefused:   c.datagramsRefused.Load(),
		MessagesSent:       c.messagesSent.Load(),
		SendCalls:          c.sendCalls.Load(),
		Segmentation:       c.segmentation.Load(),
		Coalescing:         c.coalescing.Load(),
	}
}
