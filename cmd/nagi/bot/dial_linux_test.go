package bot

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestDialEnds: who does not wait any longer for a connection leaves nothing that waits for it.
func TestDialEnds(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil { // One connection waits to be accepted, and nobody else is answered.
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address, ok := bound.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("the address is %v", bound)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := Join(ctx, Config{URL: fmt.Sprintf("ws://127.0.0.1:%d/signaling", address.Port)}); err == nil {
			t.Error("it has joined")
		}
		cancel()
	}
	if err := goleak.Find(); err != nil {
		t.Error(err)
	}
}
