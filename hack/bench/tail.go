//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"
)

// tail keeps the end of what a process prints: its addresses, its last words.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const (
	tailBytes      = 64 << 10
	lastWordsBytes = 1000
)

func (t *tail) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, data...)
	if excess := len(t.text) - tailBytes; excess > 0 {
		t.text = append(t.text[:0], t.text[excess:]...)
	}

	return len(data), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, cause := range []string{"panic: ", "panic serving ", "fatal error: "} {
		if at := bytes.Index(t.text, []byte(cause)); at >= 0 { // What follows is long and says less.
			return string(t.text[at:min(len(t.text), at+lastWordsBytes)])
		}
	}

	return string(t.text[max(0, len(t.text)-lastWordsBytes):])
}

// find waits until the process has printed what matches, and returns the first
// group.
func (t *tail) find(ctx context.Context, pattern string) (string, error) {
	expression := regexp.MustCompile(pattern)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		t.mu.Lock()
		match := expression.FindSubmatch(t.text)
		t.mu.Unlock()
		if match != nil {
			return string(match[1]), nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the server never printed %q; its last words: %s", pattern, t)
		case <-tick.C:
		}
	}
}
