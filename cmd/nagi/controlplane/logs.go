package controlplane

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	// lastLines is how many lines of each program an error quotes.
	lastLines = 8
	// longestLine bounds a quoted line, in bytes: some hold whole objects.
	longestLine = 1000
)

// logs are the last lines of both programs. envtest tells of a program that ended,
// and of one that hangs, the same: that it did not start in time.
type logs struct{ etcd, apiServer tail }

// listen puts the tails where both programs write, beside the writers that are set
// already.
func listen(environment *envtest.Environment) *logs {
	l := &logs{}
	etcd, apiServer := environment.ControlPlane.Etcd, environment.ControlPlane.GetAPIServer()
	for _, output := range []struct {
		writer   *io.Writer
		attached io.Writer
		tail     *tail
	}{
		{&etcd.Out, os.Stdout, &l.etcd},
		{&etcd.Err, os.Stderr, &l.etcd},
		{&apiServer.Out, os.Stdout, &l.apiServer},
		{&apiServer.Err, os.Stderr, &l.apiServer},
	} {
		switch {
		case *output.writer != nil:
			*output.writer = io.MultiWriter(*output.writer, output.tail)
		case environment.AttachControlPlaneOutput:
			*output.writer = io.MultiWriter(output.attached, output.tail)
		default:
			*output.writer = output.tail
		}
	}

	return l
}

// about is what an error appends: the last lines of the program that it names, or
// of both.
func (l *logs) about(err error) string {
	programs := []struct {
		name string
		tail *tail
	}{{"etcd", &l.etcd}, {"kube-apiserver", &l.apiServer}}
	for i, program := range programs {
		if strings.Contains(err.Error(), "process "+program.name) {
			programs = programs[i : i+1]

			break
		}
	}

	var text strings.Builder
	for _, program := range programs {
		lines := program.tail.last()
		if len(lines) == 0 {
			fmt.Fprintf(&text, "\n%s wrote nothing", program.name)

			continue
		}
		fmt.Fprintf(&text, "\nthe last lines of %s:\n  %s", program.name, strings.Join(lines, "\n  "))
	}

	return text.String()
}

// tail keeps the last lines of what is written to it, by any number of goroutines.
type tail struct {
	mu      sync.Mutex
	lines   []string
	partial []byte
}

// Write keeps the lines of p; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial = append(t.partial, p...)
	for {
		line, rest, found := bytes.Cut(t.partial, []byte{'\n'})
		if !found {
			break
		}
		t.keep(string(line))
		t.partial = bytes.Clone(rest)
	}
	if len(t.partial) > longestLine {
		t.partial = t.partial[:longestLine]
	}

	return len(p), nil
}

func (t *tail) keep(line string) {
	if line = strings.TrimSpace(line); line == "" {
		return
	}
	if len(line) > longestLine {
		line = strings.ToValidUTF8(line[:longestLine], "") + " ..."
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > lastLines {
		t.lines = t.lines[len(t.lines)-lastLines:]
	}
}

func (t *tail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := append([]string(nil), t.lines...)
	if rest := strings.TrimSpace(string(t.partial)); rest != "" {
		lines = append(lines, rest)
	}

	return lines
}
