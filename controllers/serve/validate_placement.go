package serve

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// maxUnreachable bounds the media servers that one request names, and maxReleased its
	// channels.
	maxUnreachable, maxReleased = 1000, 1000
	// maxAddressBytes bounds a peer address: a DNS name and a port, with some room.
	maxAddressBytes = 300
	// maxURLBytes bounds a signalling URL.
	maxURLBytes = 1024
)

func checkLocateRequest(r *forwardingv1.LocateRequest) error {
	if named := len(r.GetUnreachable()); named > maxUnreachable {
		return invalid("unreachable names %d: name %d at most", named, maxUnreachable)
	}

	return first(checkID("channel_id", r.GetChannelId()), checkIDs("unreachable", r.GetUnreachable()))
}

func checkReleaseRequest(r *forwardingv1.ReleaseRequest) error {
	if named := len(r.GetOpenings()); named == 0 || named > maxReleased {
		return invalid("openings names %d: name 1 to %d", named, maxReleased)
	}
	for i, opening := range r.GetOpenings() {
		of := fmt.Sprintf("openings[%d].", i)
		if err := first(checkID(of+"channel_id", opening.GetChannelId()),
			checkOpening(of+"number", opening.GetNumber())); err != nil {
			return err
		}
	}

	return nil
}

func checkOpening(field string, number uint64) error {
	if number == 0 {
		return invalid("%s is 0: number the openings from 1 on", field)
	}

	return nil
}

// checkPeerAddress checks what other media servers are sent to.
func checkPeerAddress(address string) error {
	if address == "" {
		return nil
	}
	if len(address) > maxAddressBytes {
		return invalid("hello.peer_address has %d bytes: shorten it to %d", len(address), maxAddressBytes)
	}
	host, port, err := net.SplitHostPort(address)
	if number, notNumber := strconv.ParseUint(port, 10, 16); err != nil || host == "" || notNumber != nil || number == 0 {
		return invalid("hello.peer_address %q is no host:port: give one, such as 10.0.0.7:7440", address)
	}

	return nil
}

// checkSignalingURL checks what clients are sent to.
func checkSignalingURL(text string) error {
	if text == "" {
		return nil
	}
	if len(text) > maxURLBytes {
		return invalid("hello.signaling_url has %d bytes: shorten it to %d", len(text), maxURLBytes)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return invalid("hello.signaling_url %q is no ws or wss URL: give one, such as wss://sfu-0.example.org/signaling",
			text)
	}

	return nil
}
