package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/spf13/pflag"

	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// peersOptions say how this media server and the others of the namespace share the channels.
type peersOptions struct {
	address, signalingURL string
	withoutClaim          string
	// drainTimeout and drainAtLeast are how long a media server that is to end goes on, at most
	// and though nobody is there.
	drainTimeout, drainAtLeast time.Duration
}

func (o *peersOptions) flags(set *pflag.FlagSet) {
	set.StringVar(&o.address, "peer-address", "",
		"host:port at which the other media servers of the namespace reach --listen, to pass clients on (brackets around an "+
			"IP address of either kind do no harm); "+
			"empty: the address of --listen where it names one, else nowhere")
	set.StringVar(&o.signalingURL, "signaling-url", "",
		"ws or wss URL at which clients reach this media server and no other, to which they are redirected; "+
			"empty: they are passed on by the one that they reach")
	set.StringVar(&o.withoutClaim, "without-claim", string(peers.Serve),
		"what becomes of a channel that nobody hosts while no manager can say whose it is: serve, or refuse "+
			"(the client is closed with CHANNEL-UNCLAIMED)")
	set.DurationVar(&o.drainTimeout, "drain-timeout", 0,
		"how long channels go on here once the media server is told to end (SIGTERM); then, or once nobody is there, they "+
			"are handed over to others; a second signal ends at once")
	set.DurationVar(&o.drainAtLeast, "drain-at-least", 0,
		"how long, within --drain-timeout, a media server that is told to end passes clients on though nobody is there: "+
			"until whoever sends it clients, such as a Service, has heard that it is not ready")
}

func (o *peersOptions) check() error {
	if o.address != "" {
		host, port, err := net.SplitHostPort(o.address)
		if err != nil || host == "" || port == "" || port == "0" {
			return fmt.Errorf("--peer-address=%s: write host:port, such as 10.0.0.7:5000, where other media servers "+
				"reach --listen", o.address)
		}
	}
	if o.signalingURL != "" {
		target, err := url.Parse(o.signalingURL)
		if err == nil && (target.Scheme != "ws" && target.Scheme != "wss" || target.Host == "" || target.User != nil) {
			err = errors.New("it is no address of a WebSocket")
		}
		if err != nil {
			return fmt.Errorf("--signaling-url: %w; write it as clients have it, such as wss://sfu-0.example/signaling", err)
		}
	}
	if policy := peers.WithoutClaim(o.withoutClaim); policy != peers.Serve && policy != peers.Refuse {
		return fmt.Errorf("--without-claim=%s: write %s or %s", o.withoutClaim, peers.Serve, peers.Refuse)
	}
	if o.drainTimeout < 0 {
		return fmt.Errorf("--drain-timeout=%v: give 0 or a positive duration such as 1m", o.drainTimeout)
	}
	if o.drainAtLeast < 0 {
		return fmt.Errorf("--drain-at-least=%v: give 0 or a positive duration such as 5s", o.drainAtLeast)
	}

	return nil
}

// reachedAt is where peers reach a listener; "": nowhere that is known.
func (o *peersOptions) reachedAt(listener net.Addr) string {
	if host, port, err := net.SplitHostPort(o.address); err == nil {
		return net.JoinHostPort(host, port) // Without brackets that are not needed.
	}
	address, err := netip.ParseAddrPort(listener.String())
	if err != nil || address.Addr().IsUnspecified() {
		return ""
	}

	return address.String()
}
