package signaling

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// crowd counts what comes from each network, up to bounds.
type crowd struct {
	most, mostPerAddress int

	mu    sync.Mutex
	all   int
	byNet map[netip.Prefix]int
}

func newCrowd(most, mostPerAddress int) *crowd {
	return &crowd{most: most, mostPerAddress: mostPerAddress, byNet: make(map[netip.Prefix]int)}
}

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

// enter counts one more from an address, or says why not.
func (c *crowd) enter(from netip.Prefix) *refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= c.most:
		return tooManySockets
	case c.byNet[from] >= c.mostPerAddress:
		return tooManyOfOne
	}
	c.all++
	c.byNet[from]++

	return nil
}

// leave takes back what enter counted.
func (c *crowd) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.byNet[from]--; c.byNet[from] == 0 {
		delete(c.byNet, from)
	}
}

// networkOf is whom an address (host:port) counts as: one of IPv6 as its /64, which
// is what a single machine is given (RFC 6177); one that is none as nobody's.
func networkOf(hostPort string) netip.Prefix {
	address, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := address.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}

	return netip.PrefixFrom(ip, bits).Masked()
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
	return &boundedListener{
		Listener: listener, metrics: s.metrics,
		crowd: newCrowd(s.config.MaxSockets+spareSockets, s.config.MaxSocketsPerAddress+sparePerAddress),
	}
}

type boundedListener struct {
	net.Listener
	crowd   *crowd
	metrics *metrics
}

// Accept waits for a connection within the bounds.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := networkOf(conn.RemoteAddr().String())
		refused := l.crowd.enter(from)
		if refused == nil {
			return &boundedConn{Conn: conn, leave: sync.OnceFunc(func() { l.crowd.leave(from) })}, nil
		}
		l.metrics.refused.WithLabelValues(refused.bound).Inc()
		_ = conn.Close()
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

// Close ends the connection and gives its place to others.
func (c *boundedConn) Close() error {
	defer c.leave()

	return c.Conn.Close()
}

func newRefused() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nagi_signaling_refused_total",
		Help: "Connections refused, by the bound that was reached: all sockets, those of one address, or its pace.",
	}, []string{"bound"})
}
