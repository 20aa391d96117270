package signaling

import (
	"net"
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/internal/bounds"
)

// refusal says which bound is reached.
type refusal struct {
	status        int
	bound, advice string
}

var (
	tooManySockets = &refusal{
		http.StatusServiceUnavailable, "sockets", "the media server has as many clients as it may; connect later",
	}
	tooManyOfOne = &refusal{http.StatusTooManyRequests, "address", "too many clients at this address; close some"}
	tooFast      = &refusal{http.StatusTooManyRequests, "pace", "too many clients at once at this address; connect later"}
)

// refusalOf is what is said of a bound that is reached; nil: none is.
func refusalOf(reached bounds.Reached) *refusal {
	switch reached {
	case bounds.All:
		return tooManySockets
	case bounds.Address:
		return tooManyOfOne
	default:
		return nil
	}
}

const (
	// spareSockets and sparePerAddress are how many more TCP connections there may be
	// than WebSockets: those that fetch the page, or are about to be told a bound.
	spareSockets    = 1024
	sparePerAddress = 64
)

// Bound makes a listener that bounds the connections from each address and in all,
// for those that never say what they want: a little above the bounds of WebSockets,
// which are told why. Beyond it connections are cut at once.
func (s *Server) Bound(listener net.Listener) net.Listener {
	crowd := bounds.NewCrowd(s.config.MaxSockets+spareSockets, s.config.MaxSocketsPerAddress+sparePerAddress)

	// Other media servers bring many clients each, who count by their own addresses.
	known := func(netip.Prefix) bool { return false }
	if s.config.Peers != nil {
		known = s.config.Peers.Known
	}

	return bounds.ListenerFor(listener, crowd, known, func(reached bounds.Reached) {
		s.metrics.refused.WithLabelValues(refusalOf(reached).bound).Inc()
	})
}

func newRefused() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nagi_signaling_refused_total",
		Help: "Connections refused, by the bound that was reached: all sockets, those of one address, its pace, " +
			"or a pass that is not believed.",
	}, []string{"bound"})
}
