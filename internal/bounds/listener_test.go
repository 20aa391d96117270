package bounds

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestListener: connections beyond a bound are cut at once, and one that has ended makes
// room, once.
func TestListener(t *testing.T) {
	for name, test := range map[string]struct {
		most, mostPerAddress int
		bound                Reached
	}{
		"in all": {2, 9, All}, "of an address": {9, 2, Address},
	} {
		t.Run(name, func(t *testing.T) {
			plain, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var refused []Reached
			crowd := NewCrowd(test.most, test.mostPerAddress)
			listener := Listener(plain, crowd, func(bound Reached) {
				mu.Lock()
				defer mu.Unlock()
				refused = append(refused, bound)
			})
			accepted, ended := make(chan net.Conn, 9), make(chan struct{})
			go func() {
				defer close(ended)
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					accepted <- conn
				}
			}()
			dial := func() net.Conn {
				t.Helper()
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", plain.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}

				return conn
			}
			within := []net.Conn{dial(), dial()}
			kept := []net.Conn{<-accepted, <-accepted}
			beyond := dial()
			if _, err := beyond.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a third connection stays: %v", err)
			}
			for range 2 {
				// The second is too late, and gives no place away.
				_ = kept[0].Close()
			}
			within = append(within, dial())
			kept = append(kept, <-accepted)
			last := dial()
			if _, err := last.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("one place was given twice: %v", err)
			}
			for _, conn := range slices.Concat(within, kept, []net.Conn{beyond, last}) {
				_ = conn.Close()
			}
			_ = listener.Close()
			<-ended
			if !slices.Equal(refused, []Reached{test.bound, test.bound}) {
				t.Errorf("refused: %v", refused)
			}
			if crowd.all != 0 || len(crowd.byNetwork) != 0 {
				t.Errorf("%d, %v stay counted", crowd.all, crowd.byNetwork)
			}
		})
	}
}

// TestListenerForKnown proves that a network that is known has no bound of its own, but the one
// of all.
func TestListenerForKnown(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It is there at once.
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan Reached, 10)
	crowd := NewCrowd(3, 1)
	known := func(from netip.Prefix) bool { return from.Contains(netip.MustParseAddr("127.0.0.1")) }
	l := ListenerFor(inner, crowd, known, func(reached Reached) { refused <- reached })
	accepted := make(chan net.Conn, 10)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	for range 4 {
		conn, err := net.Dial("tcp", inner.Addr().String()) //nolint:noctx // It is there at once.
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	if reached := <-refused; reached != All {
		t.Errorf("the bound reached is %s", reached)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	count := 0
	for conn := range accepted {
		count++
		_ = conn.Close()
	}
	if count != 3 {
		t.Errorf("%d came in, want 3", count)
	}
}
