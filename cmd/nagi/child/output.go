package child

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// keptLines is how many last lines are kept to tell why a program ended.
	keptLines = 15
	// maxLineBytes bounds what is kept of one line.
	maxLineBytes = 4096
)

// output splits what a program writes into lines, keeps the last ones and the
// announcements among them, and passes everything on.
type output struct {
	next io.Writer

	mu            sync.Mutex
	partial       []byte
	lines         []string
	announcements []map[string]string
	grown         chan struct{} // Closed and replaced with each announcement.
}

func newOutput(next io.Writer) *output {
	return &output{next: next, grown: make(chan struct{})}
}

// Write takes a piece of the program's output. It never fails: a full disk
// must not end the program.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next != nil {
		_, _ = o.next.Write(p)
	}
	o.partial = append(o.partial, p...)
	for {
		line, rest, found := bytes.Cut(o.partial, []byte("\n"))
		if !found {
			break
		}
		o.add(string(line[:min(len(line), maxLineBytes)]))
		o.partial = rest
	}
	if len(o.partial) > maxLineBytes {
		o.partial = o.partial[:maxLineBytes]
	}

	return len(p), nil
}

func (o *output) add(line string) {
	if o.lines = append(o.lines, line); len(o.lines) > keptLines {
		o.lines = slices.Delete(o.lines, 0, 1)
	}
	if !strings.Contains(line, "msg=listening") {
		return
	}
	if attributes := parseLine(line); attributes["msg"] == "listening" {
		o.announcements = append(o.announcements, attributes)
		close(o.grown)
		o.grown = make(chan struct{})
	}
}

// end takes what is left after the last line feed.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.partial) > 0 {
		o.add(string(o.partial))
		o.partial = nil
	}
}

func (o *output) lastLines() string {
	o.mu.Lock()
	defer o.mu.Unlock()

	return strings.Join(o.lines, "\n")
}

// announcement returns the first announcement of what, and a channel that closes
// with the next announcement of anything.
func (o *output) announcement(what string) (map[string]string, bool, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.announcements {
		if a["what"] == what {
			return a, true, o.grown
		}
	}

	return nil, false, o.grown
}

// parseLine reads a line of slog's text format: key=value pairs, values quoted
// as in Go where they need it.
func parseLine(line string) map[string]string {
	attributes := map[string]string{}
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		key, rest, found := strings.Cut(line, "=")
		if !found {
			break
		}
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			value, _ := strconv.Unquote(quoted)
			attributes[key], line = value, rest[len(quoted):]

			continue
		}
		attributes[key], line, _ = strings.Cut(rest, " ")
	}

	return attributes
}
