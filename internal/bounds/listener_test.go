package bounds

import (
	"errors"
	"net"
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
