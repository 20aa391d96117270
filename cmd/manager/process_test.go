package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a manager that runs; lines are what it logs.
type process struct {
	command *exec.Cmd
	lines   chan string
}

func begin(t *testing.T, arguments ...string) *process {
	t.Helper()

	return beginProgram(t, program, arguments...)
}

// beginProgram starts any of the programs, on free loopback ports.
func beginProgram(t *testing.T, path string, arguments ...string) *process {
	t.Helper()
	command := exec.CommandContext(context.Background(), path,
		append([]string{"--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"}, arguments...)...)
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{command: command, lines: make(chan string, 10_000)}
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(log); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		if command.ProcessState == nil {
			_ = command.Process.Kill()
			for range p.lines {
				continue
			}
			_ = command.Wait()
		}
	})

	return p
}

// says waits for a line of the log that contains the words.
func (p *process) says(t *testing.T, words string) string {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case line, more := <-p.lines:
			if !more {
				t.Fatalf("it ended and never said %q", words)
			}
			if strings.Contains(line, words) {
				return line
			}
		case <-end:
			t.Fatalf("it never said %q", words)
		}
	}
}

func (p *process) probes(t *testing.T) string {
	t.Helper()
	_, address, _ := strings.Cut(p.says(t, "what=metrics"), "address=")

	return "http://" + address
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}

	return response.StatusCode, string(body)
}

// end asks for a graceful end and expects one.
func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { _ = p.command.Process.Kill() })
	defer timer.Stop()
	for range p.lines {
		continue
	}
	if err := p.command.Wait(); err != nil {
		t.Errorf("ended at SIGTERM with %v", err)
	}
}
