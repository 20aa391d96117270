package main

import (
	"net"

	"github.com/nagi-rtc/nagi/controllers/serve"
)

// impatient has connections end whose peer acknowledges nothing. gRPC asks for that on
// plain TCP connections alone, and a bound wraps them: a media server that is cut off
// would count as in touch for longer.
type impatient struct{ net.Listener }

func (l impatient) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		_ = giveUp(conn, serve.KeepaliveTimeout) // Or gRPC's pings find out, later.
	}

	return conn, err
}
