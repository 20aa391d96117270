package udp

import (
	"net"
	"net/netip"
	"sync"
)

// MaxBurst is the most datagrams that receive is given at once.
const MaxBurst = 64

// maxReceived is the most bytes a datagram may have to be handed on. WebRTC keeps below the path's MTU, so a longer one
// is somebody's mistake or attack, and is discarded.
const maxReceived = 2048

// maxJobs is how many jobs may wait for a worker before Post blocks: an overloaded worker loses datagrams in its socket
// rather than send them seconds late.
const maxJobs = 64

// Datagram is one datagram that has arrived.
type Datagram struct {
	Payload []byte         // At least one byte.
	Source  netip.AddrPort // An IPv4 address is never in its IPv4-mapped form.
	Local   netip.Addr     // The address of ours that it was sent to, if the socket has many; see Path.
}

// Path is the one that the datagram came on; an answer goes back on it.
func (d *Datagram) Path() Path { return Path{Remote: d.Source, Local: d.Local} }

// Job is work that a worker does for another goroutine.
type Job interface{ Run(batch *Batch) }

// worker is one of the sockets at the address, with two goroutines: the reader answers what arrives, and the runner
// does what others post. Two, so that a post needs not wait for a datagram to arrive.
type worker struct {
	conn     *net.UDPConn
	receiver *receiver
	reader   *Batch
	runner   *Batch
	jobs     chan Job
}

func (s *Socket) newWorker(number int, conn *net.UDPConn, wanted offload) (*worker, error) {
	receiver, err := newReceiver(conn, &s.counters, wanted.coalescing)
	if err != nil {
		return nil, err
	}
	w := &worker{conn: conn, receiver: receiver, jobs: make(chan Job, maxJobs)}
	for _, batch := range []**Batch{&w.reader, &w.runner} {
		carrier, err := newCarrier(conn, &s.counters, wanted.segmentation)
		if err != nil {
			return nil, err
		}
		*batch = newBatch(number, carrier)
		s.quiescence.watch(*batch)
	}

	return w, nil
}

// Serve hands what arrives to receive, on one goroutine per worker, and runs posted jobs, until Close; it returns when
// all its goroutines have ended. It is called once.
//
// A burst has 1 to MaxBurst datagrams. They are valid, and may be changed in place, during the call. The batch, which
// is always the same for a worker, is flushed when receive returns.
func (s *Socket) Serve(receive func(batch *Batch, burst []Datagram)) {
	var running sync.WaitGroup
	for _, w := range s.workers {
		running.Go(func() { w.read(receive) })
		running.Go(func() { w.run(s.closed) })
	}
	running.Wait()
}

func (w *worker) read(receive func(batch *Batch, burst []Datagram)) {
	for {
		burst, err := w.receiver.receive()
		if err != nil {
			return // Closed; errors of single datagrams are no reason to stop for all peers.
		}
		w.reader.begin()
		receive(w.reader, burst)
		w.reader.end()
	}
}

func (w *worker) run(closed <-chan struct{}) {
	for {
		select {
		case <-closed:
			return
		case job := <-w.jobs:
			w.runner.begin()
			job.Run(w.runner)
			w.runner.end()
		}
	}
}

// Post has a worker run the job, after those posted to it before, on the worker's second goroutine and with a batch of
// its own that is flushed afterwards. It blocks while 64 jobs wait for this worker. After Close jobs are dropped. It
// is not to be called from a job, which would wait for itself when the queue is full.
func (s *Socket) Post(worker int, job Job) {
	select { // Of two that are ready either may be chosen: after Close, nobody reads the queue.
	case <-s.closed:
	case s.workers[worker].jobs <- job:
	}
}

// TryPost is Post for jobs that are not worth waiting for: while 64 jobs wait it drops this one.
func (s *Socket) TryPost(worker int, job Job) {
	select {
	case s.workers[worker].jobs <- job:
	default:
	}
}
