package signaling

import (
	"runtime"
	"testing"

	"github.com/coder/websocket"
)

// One that sends messages as fast as it can, and many that say nothing, keep nobody else from being served in time.
func TestFloodStarvesNobody(t *testing.T) {
	f := start(t, Config{})
	for range 200 {
		f.dial() // says nothing
	}
	p, s := f.established()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if p.socket.Write(t.Context(), websocket.MessageText, []byte(`{"type":"candidate","candidate":"bad"}`)) != nil {
				return
			}
		}
	}()
	for range 20 {
		other, _ := f.established()
		other.send(`{"type":"disconnect"}`)
		other.closed(CodeNormal, ReasonTypeDisconnect)
	}
	close(stop)
	<-stopped
	s.client.Close(CodeNormal, ReasonDisconnectedAPI)
	s.expectLeft(t, ReasonDisconnectedAPI)
}

// What a socket that says nothing costs the server, together with its client in this process.
func TestIdleSocketsAreCheap(t *testing.T) {
	const sockets, most = 500, 128 << 10
	f := start(t, Config{})
	before := inUse()
	for range sockets {
		f.dial()
	}
	if each := (inUse() - before) / sockets; each > most {
		t.Errorf("%d bytes for each idle socket, %d are allowed", each, most)
	} else {
		t.Logf("%d bytes for each idle socket", each)
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)

	return int64(m.HeapInuse + m.StackInuse) //nolint:gosec // Far below 1<<63.
}
