package udp

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// watched is a socket that is nothing but its batches.
func watched(batches ...*Batch) *Socket {
	socket := &Socket{}
	for _, batch := range batches {
		socket.quiescence.watch(batch)
	}

	return socket
}

func TestQuiesceWaitsForTheKernel(t *testing.T) {
	tests := []struct {
		name string
		pass func(*Batch)
	}{
		{"the end", (*Batch).end},
		{"a flush", (*Batch).Flush},
		{"a flush of Room", func(b *Batch) { b.Room(arenaBytes) }},
		{"the end, and filling again", func(b *Batch) { b.end(); b.begin() }},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			var returned, sent atomic.Bool
			filling := NewBatch(0, func([]byte, *Destination) {
				synctest.Wait()
				if returned.Load() {
					t.Errorf("%s: Quiesce returned before the kernel had the datagrams", test.name)
				}
				sent.Store(true)
			})
			idle := NewBatch(0, nil)
			socket := watched(idle, filling)
			filling.begin()
			filling.Append(nil, 10)
			go func() {
				socket.Quiesce()
				returned.Store(true)
			}()
			synctest.Wait()
			filling.Append(nil, 10)
			idle.begin() // It is not waited for, having been idle at the time.
			synctest.Wait()
			if returned.Load() {
				t.Errorf("%s: Quiesce returned before", test.name)
			}
			test.pass(filling)
			synctest.Wait()
			if !returned.Load() || !sent.Load() {
				t.Errorf("%s: returned %v, sent %v", test.name, returned.Load(), sent.Load())
			}
		})
	}
}

func TestQuiesceIsImmediateWhenIdle(t *testing.T) {
	batch := NewBatch(0, nil)
	socket := watched(batch, NewBatch(0, nil))
	socket.Quiesce()
	batch.begin()
	batch.Append(nil, 10)
	batch.Flush()
	batch.end()
	socket.Quiesce()
}

// Two workers send the state as they see it, with flushes in between; what a change withdraws is not sent after it.
func TestNothingLeavesAfterQuiesce(t *testing.T) {
	var state, inForce atomic.Uint64
	var stop atomic.Bool
	var running sync.WaitGroup
	socket := &Socket{}
	for number := range 2 {
		batch := NewBatch(number, func(datagram []byte, _ *Destination) {
			if sent, least := binary.BigEndian.Uint64(datagram), inForce.Load(); sent < least {
				t.Errorf("state %d was sent after %d was in force", sent, least)
			}
		})
		socket.quiescence.watch(batch)
		running.Go(func() {
			for !stop.Load() {
				batch.begin()
				for range 3 {
					current := state.Load()
					for range 4 {
						binary.BigEndian.PutUint64(batch.Append(nil, 8), current)
					}
					batch.Flush()
				}
				batch.end()
			}
		})
	}
	for change := uint64(1); change <= 5000; change++ {
		state.Store(change)
		socket.Quiesce()
		inForce.Store(change)
	}
	stop.Store(true)
	running.Wait()
}

func TestQuiesceWithAServingSocket(t *testing.T) {
	socket := listenTo(t, "127.0.0.1:0", 2, everything)
	conn := plain(t, "udp4", "127.0.0.1:0")
	destination := socket.Destination(localAddress(conn))
	filling, goOn := make(chan struct{}), make(chan struct{})
	fill := func(batch *Batch) {
		copy(batch.Append(destination, 4), "last")
		filling <- struct{}{}
		<-goOn
	}
	serve(t, socket, func(batch *Batch, _ []Datagram) { fill(batch) })
	tests := map[string]func(){
		"a job": func() { socket.Post(socket.Workers()-1, job(fill)) },
		"receive": func() {
			if _, err := conn.WriteToUDPAddrPort([]byte("first"), socket.Addr()); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, begin := range tests {
		sent := socket.Stats().DatagramsSent
		begin()
		next(t, filling)
		quiet := make(chan struct{})
		go func() {
			defer close(quiet)
			socket.Quiesce()
		}()
		select {
		case <-quiet:
			t.Errorf("Quiesce returned while %s was filling its batch", name)
		default:
		}
		goOn <- struct{}{}
		next(t, quiet)
		if socket.Stats().DatagramsSent != sent+1 || read(t, conn) != "last" {
			t.Errorf("the datagram of %s was not sent", name)
		}
		socket.Quiesce() // Nothing is being filled.
	}
}
