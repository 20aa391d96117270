package udp

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// TestOthersHaveTheirTurn: a socket at which there is always something more keeps no other goroutine from going on, on
// one processor too.
func TestOthersHaveTheirTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const bursts = 8
	socket := listenTo(t, "127.0.0.1:0", 1, offload{})
	from := listenTo(t, "127.0.0.1:0", 1, offload{})
	destination := from.DestinationOn(Path{Remote: socket.Addr()})
	for range bursts * MaxBurst {
		if err := from.Send([]byte{1}, destination); err != nil {
			t.Fatal(err)
		}
	}
	var turns atomic.Int64
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				turns.Add(1)
				runtime.Gosched()
			}
		}
	}()
	for range bursts {
		burst, err := socket.workers[0].receiver.receive()
		if err != nil || len(burst) != MaxBurst {
			t.Fatalf("%d datagrams, %v", len(burst), err)
		}
	}
	// Not each time: now and then the scheduler looks first at who has just made room.
	if turns := turns.Load(); turns < bursts/2 {
		t.Errorf("somebody else went on %d times in %d bursts", turns, bursts)
	}
	close(stop)
	<-done
}
