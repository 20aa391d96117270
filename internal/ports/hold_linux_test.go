package ports_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/nagi-rtc/nagi/internal/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func hold(t *testing.T, address string) *ports.Held {
	t.Helper()
	h, err := ports.Hold(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})

	return h
}

func listen(address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", address)
}

// serve listens on an address, takes one connection, ends it first and listens no more, as
// a program that is killed.
func serve(t *testing.T, address string) {
	t.Helper()
	listener, err := listen(address)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := listen(address); err == nil {
		t.Errorf("two listen on %s", again.Addr())
	}
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(accepted.Close(), listener.Close(), client.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestHeldIsServed proves that a program gets the address that is held for it, alone, and
// gets it again; and that the address can be held anew, although connections linger there.
func TestHeldIsServed(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0", ":0", "[::1]:0", "[::]:0", "localhost:0"} {
		h, err := ports.Hold(address)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if h.Address().IP == nil || h.Address().Port == 0 {
			t.Fatalf("%s became %s", address, h.Address())
		}
		for range 3 {
			serve(t, h.Address().String())
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		hold(t, h.Address().String())
		serve(t, h.Address().String())
	}
}

// TestHeldIsNobodyElses proves that neither who asks for any port nor an outgoing
// connection gets one that is held, though they ask for more of them than are left over
// by chance.
func TestHeldIsNobodyElses(t *testing.T) {
	held := map[int]bool{}
	for range 2_000 {
		h := hold(t, "127.0.0.1:0")
		if held[h.Address().Port] {
			t.Fatalf("%d is held twice", h.Address().Port)
		}
		held[h.Address().Port] = true
	}
	server, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for range 1_000 {
		for _, address := range []string{"127.0.0.1:0", ":0"} {
			listener, err := listen(address)
			if err != nil {
				t.Fatal(err)
			}
			if of := listener.Addr().(*net.TCPAddr); held[of.Port] {
				t.Errorf("%d was given to a listener", of.Port)
			}
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
		}
		client, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if of := client.LocalAddr().(*net.TCPAddr); held[of.Port] {
			t.Errorf("%d was given to a connection", of.Port)
		}
		accepted, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(client.Close(), accepted.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTakenIsTold proves that an address where somebody listens is not held, and that this
// leaves every descriptor as it was.
func TestTakenIsTold(t *testing.T) {
	listener, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	open, before := hold(t, "127.0.0.1:0"), descriptors(t)
	for _, address := range []string{listener.Addr().String(), "nonsense", "127.0.0.1:70000", "192.0.2.1:0"} {
		h, err := ports.Hold(address)
		if err == nil {
			t.Fatalf("%s is held", h.Address())
		}
		if taken := address == listener.Addr().String(); errors.Is(err, syscall.EADDRINUSE) != taken {
			t.Errorf("%s: %v", address, err)
		}
	}
	if after := descriptors(t); !slices.Equal(after, before) {
		t.Errorf("the descriptors are %v, they were %v", after, before)
	}
	serve(t, open.Address().String())
}

// descriptors are those that are open, but for the one that looks.
func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}

	return slices.DeleteFunc(entries, func(path string) bool {
		_, err := os.Lstat(path)

		return err != nil
	})
}
