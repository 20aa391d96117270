// Package child runs one program as a process of its own, keeps what it logs,
// and learns from that where it listens.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	// Name is what people call the program.
	Name string
	// Path is the executable; Args are its arguments, without the name.
	Path string
	Args []string
	// Env is the environment; nil: this process's own.
	Env []string
	// Output gets all that the program writes. May be nil.
	Output io.Writer
}

// Child is a running, or ended, program. Whoever starts one calls Stop or Kill
// in the end.
type Child struct {
	name    string
	command *exec.Cmd
	output  *output
	done    chan struct{}
	err     error // How it ended; read only after done.
}

// outputDelay bounds how long a dead program's output is read when processes
// that it started keep it open.
const outputDelay = 2 * time.Second

// Start starts the program in a process group of its own, so that Ctrl-C in a
// terminal does not reach it. On Linux it gets SIGTERM when the thread that
// called Start ends, hence when this process does, even by SIGKILL.
func Start(spec Spec) (*Child, error) {
	c := &Child{name: spec.Name, output: newOutput(spec.Output), done: make(chan struct{})}
	// Not CommandContext: the end of a context would be a SIGKILL, and children
	// have goodbyes to say.
	c.command = exec.Command(spec.Path, spec.Args...) //nolint:gosec,noctx // The caller's program; ended by Stop.
	c.command.Env = spec.Env
	c.command.Stdout, c.command.Stderr = c.output, c.output
	c.command.WaitDelay = outputDelay
	c.command.SysProcAttr = processAttributes()
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w; `make build` makes the programs", spec.Path, err)
	}
	go func() {
		defer close(c.done)
		c.err = c.command.Wait()
		c.output.end()
	}()

	return c, nil
}

// Name is what people call the program.
func (c *Child) Name() string { return c.name }

// PID is the process id.
func (c *Child) PID() int { return c.command.Process.Pid }

// Done is closed when the program has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// EndError tells how the program ended, with its last lines; nil while it runs.
func (c *Child) EndError() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	how := "with exit code 0"
	if c.err != nil {
		how = c.err.Error()
	}

	return fmt.Errorf("%s ended: %s; its last lines:\n%s", c.name, how, c.output.lastLines())
}

// Announced waits until the program logs a line with msg=listening and
// what=<what>, and returns all attributes of that line. The error is EndError's
// when the program ends first.
func (c *Child) Announced(ctx context.Context, what string) (map[string]string, error) {
	for {
		line, found, grown := c.output.announcement(what)
		if found {
			return line, nil
		}
		select {
		case <-grown:
		case <-c.done:
			return nil, c.EndError()
		case <-ctx.Done():
			return nil, fmt.Errorf("%s did not say that it listens for %s: %w; its last lines:\n%s", c.name, what,
				context.Cause(ctx), c.output.lastLines())
		}
	}
}

// Address waits until the program says that it listens, and returns the address
// (host:port).
func (c *Child) Address(ctx context.Context, what string) (string, error) {
	line, err := c.Announced(ctx, what)
	if err != nil {
		return "", err
	}

	return line["address"], nil
}

// readyInterval is the time between two questions whether a program is ready.
const readyInterval = 20 * time.Millisecond

// Ready waits until http://<address of its metrics listener>/readyz answers 200.
func (c *Child) Ready(ctx context.Context) error {
	address, err := c.Address(ctx, "metrics")
	if err != nil {
		return err
	}
	url := "http://" + address + "/readyz"
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	last := "none"
	for {
		answer, err := probe(ctx, url)
		if err == nil && answer == "" {
			return nil
		}
		if ctx.Err() == nil {
			last = answer // Else it tells of the end of ctx alone.
		}
		select {
		case <-ticker.C:
		case <-c.done:
			return c.EndError()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its last answer: %s", c.name, context.Cause(ctx), strings.TrimSpace(last))
		}
	}
}

// probe returns an empty answer for a 200, else the answer's text.
func probe(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	// Keep-alive would leave connections behind that nobody closes.
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error(), err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return "", nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err.Error(), err
	}

	return response.Status + ": " + string(text), nil
}

// Stop asks the program to end (SIGTERM) and waits for it until ctx ends; then it
// kills the program and says so in the error. An ended program is no error.
func (c *Child) Stop(ctx context.Context) error {
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		// It has ended already, or is about to.
		<-c.done

		return nil
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		c.Kill()

		return fmt.Errorf("%s did not end when asked to and was killed: %w", c.name, context.Cause(ctx))
	}
}

// Freeze stops the program and its process group where they are (SIGSTOP): their
// sockets stay open and nobody answers on them. Thaw lets them go on.
func (c *Child) Freeze() error { return c.signalGroup(syscall.SIGSTOP) }

// Thaw lets a frozen program go on.
func (c *Child) Thaw() error { return c.signalGroup(syscall.SIGCONT) }

func (c *Child) signalGroup(signal syscall.Signal) error {
	if err := syscall.Kill(-c.PID(), signal); err != nil {
		return fmt.Errorf("send %s to %s: %w", signal, c.name, err)
	}

	return nil
}

// Kill ends the program and its process group at once and waits for it.
func (c *Child) Kill() {
	if err := syscall.Kill(-c.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		_ = c.command.Process.Kill()
	}
	<-c.done
}
