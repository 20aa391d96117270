package udp

import (
	"testing"
)

// numbered is a job that reports its number.
type numbered struct {
	number int
	ran    chan<- int
	worker int
	t      *testing.T
}

func (j *numbered) Run(batch *Batch) {
	if batch.Worker() != j.worker {
		j.t.Errorf("job for worker %d ran on %d", j.worker, batch.Worker())
	}
	j.ran <- j.number
}

func TestPostKeepsTheOrder(t *testing.T) {
	const jobs = 3 * maxJobs
	socket := listenTo(t, "127.0.0.1:0", 2, everything)
	for worker := range socket.Workers() {
		ran := make(chan int, jobs)
		posted := make(chan struct{})
		go func() {
			defer close(posted)
			for number := range jobs { // More than the queue holds: some of them wait for Serve.
				socket.Post(worker, &numbered{number, ran, worker, t})
			}
		}()
		if worker == 0 {
			serve(t, socket, func(*Batch, []Datagram) {})
		}
		for want := range jobs {
			if got := next(t, ran); got != want {
				t.Fatalf("job %d ran after %d others", got, want)
			}
		}
		<-posted
	}
}

func TestPostAfterCloseDrops(t *testing.T) {
	socket := listenTo(t, "127.0.0.1:0", 1, everything)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		socket.Serve(func(*Batch, []Datagram) {})
	}()
	_ = socket.Close()
	next(t, ended)
	for range 2 * maxJobs {
		socket.Post(0, job(func(*Batch) { t.Error("a job ran after Close") }))
	}
}

func TestCloseFreesAPost(t *testing.T) {
	socket := listenTo(t, "127.0.0.1:0", 1, everything)
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		for range 2 * maxJobs { // Nobody serves.
			socket.Post(0, job(func(*Batch) {}))
		}
	}()
	_ = socket.Close()
	next(t, posted)
}

func TestWorkersShareThePeers(t *testing.T) {
	const peers, datagrams = 64, 20
	socket := listenTo(t, "127.0.0.1:0", 2, everything)
	received := make(chan int, peers*datagrams)
	serve(t, socket, func(batch *Batch, burst []Datagram) {
		for range burst {
			received <- batch.Worker()
		}
	})
	for range peers {
		conn := plain(t, "udp4", "127.0.0.1:0")
		for range datagrams {
			if _, err := conn.WriteToUDPAddrPort(make([]byte, 100), socket.Addr()); err != nil {
				t.Fatal(err)
			}
		}
	}
	shares := make([]int, socket.Workers())
	for range peers * datagrams {
		shares[next(t, received)]++
	}
	for worker, share := range shares {
		if share == 0 {
			t.Errorf("worker %d received nothing: %v", worker, shares)
		}
	}
}
