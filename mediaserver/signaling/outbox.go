package signaling

import "sync"

// maxQueuedBytes that may wait for a slow client. Their number is not bounded: one
// pause may withhold the streams of a whole hall from one receiver, who is told of
// each, and offers of large channels are large. One message may always wait.
const maxQueuedBytes = 8 << 20

// outbox is what waits for a client. It never blocks.
type outbox struct {
	// ready has room for one: the writer takes everything when woken.
	ready chan struct{}

	mu    sync.Mutex
	texts [][]byte
	bytes int
}

func newOutbox() outbox { return outbox{ready: make(chan struct{}, 1)} }

// put adds a message; false, and not added, when too much is waiting.
func (o *outbox) put(text []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes > 0 && o.bytes+len(text) > maxQueuedBytes {
		return false
	}
	o.texts = append(o.texts, text)
	o.bytes += len(text)
	signal(o.ready)

	return true
}

// take returns the oldest message; false when there is none.
func (o *outbox) take() ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.texts) == 0 {
		return nil, false
	}
	text := o.texts[0]
	o.texts[0] = nil
	if o.texts = o.texts[1:]; len(o.texts) == 0 {
		o.texts = nil // and its memory: most of the time nothing waits
	}
	o.bytes -= len(text)

	return text, true
}
