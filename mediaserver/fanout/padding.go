package fanout

// maxPadding is by how many bytes at most a packet is made longer. Senders differ
// by one byte when they cut a frame into equal parts, and by a few more where a
// payload descriptor (RFC 7741 section 4.2) is longer in some of them. Making up for
// more than that costs receivers bandwidth that a second send does not.
const maxPadding = 16

// equalize gives a frame's packets the padding that makes their sizes equal, and
// returns how many got some. Only packets of equal size, behind which one smaller
// may follow, go to the kernel as one (UDP_SEGMENT), and libwebrtc makes a frame's
// packets one byte apart. A frame's last packet is left alone for it may be smaller,
// and so are packets without payload, which are padding already.
//
// No packet becomes larger than the sender's largest, so that none outgrows the path.
func equalize(arrivals []arrival) (padded int) {
	for len(arrivals) > 0 {
		n, largest := frame(arrivals)
		for i := range arrivals[:n-1] {
			a := &arrivals[i]
			if missing := largest - len(a.payload); missing > 0 && missing <= maxPadding && !a.packet.Empty {
				a.padding = uint8(missing)
				padded++
			}
		}
		arrivals = arrivals[n:]
	}

	return padded
}

// frame is how many packets at the beginning of arrivals are of one frame, and the
// size of the largest. Under a new run's timeline timestamps may come twice.
func frame(arrivals []arrival) (n, largest int) {
	timestamp := arrivals[0].packet.Timestamp
	for n < len(arrivals) && arrivals[n].packet.Timestamp == timestamp && (n == 0 || !arrivals[n].restarted) {
		largest = max(largest, len(arrivals[n].payload))
		n++
	}

	return n, largest
}
