package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/cmd/nagi/child"
)

const (
	// startTimeout bounds the start of any one part.
	startTimeout = time.Minute
	// stopTimeout bounds the end of any one part; the API server takes the longest.
	stopTimeout = 30 * time.Second
)

// system is all that runs on this machine.
type system struct {
	options options
	cancel  context.CancelCauseFunc
	// bin is where the other programs lie: beside this one.
	bin string
	// work holds the logs and, through TMPDIR, whatever the children write.
	work string

	mu       sync.Mutex
	children []*child.Child // In the order of their start.
	bots     []*bot.Bot
	stopping bool
	watchers sync.WaitGroup

	open    []io.Closer // Logs, and the ports that are held.
	kubectl string
	config  string // The kubeconfig's path.
}

func newSystem(o options, cancel context.CancelCauseFunc) (*system, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the directory of the other programs: %w", err)
	}
	work, err := os.MkdirTemp("", "nagi-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for logs: %w", err)
	}

	return &system{options: o, cancel: cancel, bin: filepath.Dir(executable), work: work}, nil
}

// run starts everything, shows it until ctx or a part of it ends, and ends
// everything. The end that a user asked for is no error.
func (s *system) run(ctx context.Context) error {
	err := s.start(ctx)
	if err == nil {
		if err = s.introduce(os.Stdout); err == nil {
			err = s.show(ctx, os.Stdout)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		// What happened first is the reason; the rest follows from it.
		err = cause
	}
	failed := err != nil && !errors.Is(err, errInterrupted)
	stopErr := s.stop(context.WithoutCancel(ctx))
	if !failed {
		err = nil
	}
	err = errors.Join(err, stopErr)

	return errors.Join(err, s.cleanUp(err == nil))
}

// start starts the parts in the order in which they need each other.
func (s *system) start(ctx context.Context) error {
	held, err := s.options.listeners.hold(ctx)
	s.open = append(s.open, held...)
	if err != nil {
		return err
	}
	if err := os.Mkdir(s.temporary(), 0o700); err != nil {
		return fmt.Errorf("make a directory for the programs: %w", err)
	}
	if !s.options.verbose {
		fmt.Printf("Logs: %s\n", filepath.Join(s.work, "*.log"))
	}
	steps := []struct {
		name  string
		start func(context.Context) error
	}{
		{"etcd and kube-apiserver", s.startControlPlane},
		{"manager", s.startManager},
		{"shim", s.startShim},
		{"two media servers", s.startMediaServers},
		{"synthetic clients", s.joinBots},
	}
	for _, step := range steps {
		fmt.Printf("Starting %s ...\n", step.name)
		stepContext, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it took longer than %s", startTimeout))
		err := step.start(stepContext)
		cancel()
		if err != nil {
			return fmt.Errorf("start %s: %w", step.name, err)
		}
	}

	return nil
}

func (s *system) temporary() string { return filepath.Join(s.work, "tmp") }

func (s *system) startControlPlane(ctx context.Context) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	c, err := s.spawn(ctx, controlPlaneCommand, executable, controlPlaneCommand, "--orphan-removes="+s.work)
	if err != nil {
		return err
	}
	facts, err := c.Announced(ctx, announcedKubernetes)
	if err != nil {
		return err
	}
	s.config, s.kubectl = facts["kubeconfig"], facts["kubectl"]

	return nil
}

func (s *system) startManager(ctx context.Context) error {
	l := s.options.listeners

	return s.startReady(ctx, "manager", "manager",
		"--kubeconfig="+s.config, "--listen="+l.manager, "--metrics-listen="+l.managerMetrics)
}

func (s *system) startShim(ctx context.Context) error {
	l := s.options.listeners
	args := []string{
		"--kubeconfig=" + s.config, "--managers=" + l.manager, "--listen=" + l.shim, "--metrics-listen=" + l.shimMetrics,
	}
	for _, m := range l.mediaServers() {
		args = append(args, "--cors-origin=http://"+m.signaling)
	}

	return s.startReady(ctx, "shim", "shim", args...)
}

func (s *system) startMediaServers(ctx context.Context) error {
	for i, l := range s.options.listeners.mediaServers() {
		name := fmt.Sprintf("mediaserver-%d", i+1)
		args := []string{
			"--name=" + name, "--managers=" + s.options.listeners.manager, "--listen=" + l.signaling,
			"--media-listen=" + l.media, "--shim-url=http://" + s.options.listeners.shim, "--metrics-listen=" + l.metrics,
		}
		if s.options.anonymous {
			args = append(args, "--allow-anonymous-clients")
		}
		for _, address := range s.options.publicAddresses {
			if addressAndPort, err := netip.ParseAddrPort(address); err == nil && i > 0 {
				address = addressAndPort.Addr().String() // The port is the first one's.
			}
			args = append(args, "--public-address="+address)
		}
		if err := s.startReady(ctx, name, "mediaserver", args...); err != nil {
			return err
		}
	}

	return nil
}

// startReady starts one of the programs that lie beside this one.
func (s *system) startReady(ctx context.Context, name, program string, args ...string) error {
	c, err := s.spawn(ctx, name, filepath.Join(s.bin, program), args...)
	if err != nil {
		return err
	}

	return c.Ready(ctx)
}

// spawn starts a child and ends the system if the child ends by itself.
func (s *system) spawn(ctx context.Context, name, path string, args ...string) (*child.Child, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	output, err := s.outputOf(name)
	if err != nil {
		return nil, err
	}
	c, err := child.Start(child.Spec{
		Name: name, Path: path, Args: args, Output: output,
		Env: append(os.Environ(), "TMPDIR="+s.temporary()),
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.children = append(s.children, c)
	s.watchers.Go(func() {
		<-c.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.stopping {
			s.cancel(c.EndError())
		}
	})

	return c, nil
}

// outputOf is where a child's output goes.
func (s *system) outputOf(name string) (io.Writer, error) {
	if s.options.verbose {
		return &prefixWriter{prefix: name + ": ", next: os.Stderr}, nil
	}
	file, err := os.Create(filepath.Join(s.work, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", name, err)
	}
	s.open = append(s.open, file)

	return file, nil
}

// wantedRIDs are the sizes that bots want of each other's pictures, in turn. The first
// leaves the choice to the server.
var wantedRIDs = [...]string{"", "r0", "r1"}

func (s *system) joinBots(ctx context.Context) error {
	mediaServers := s.options.listeners.mediaServers()
	for i := range s.options.bots {
		b, err := bot.Join(ctx, bot.Config{
			URL:       "ws://" + mediaServers[i%len(mediaServers)].signaling + "/signaling",
			ChannelID: s.options.channel, ClientID: fmt.Sprintf("bot-%d", i+1), Role: bot.SendRecv,
			Simulcast: true, RID: wantedRIDs[i%len(wantedRIDs)],
		})
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.bots = append(s.bots, b)
		s.mu.Unlock()
		s.watchers.Go(func() {
			<-b.Done()
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.stopping {
				s.cancel(fmt.Errorf("%s is out of the channel: %w", b.ClientID(), b.Err()))
			}
		})
	}

	return nil
}

// stop ends the parts in the reverse order of their start, so that each can say
// goodbye to those that it needs.
func (s *system) stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	children := s.children
	s.mu.Unlock()

	var problems []error
	for _, b := range s.bots {
		problems = append(problems, stopping(ctx, b.Leave))
	}
	for i := len(children) - 1; i >= 0; i-- {
		problems = append(problems, stopping(ctx, children[i].Stop))
	}
	s.watchers.Wait()
	for _, closer := range s.open {
		problems = append(problems, closer.Close())
	}

	return errors.Join(problems...)
}

// stopping gives one part its time to end.
func stopping(ctx context.Context, stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, fmt.Errorf("it took longer than %s", stopTimeout))
	defer cancel()

	return stop(ctx)
}

// force kills what stop is waiting for. Only the control plane may still end by
// itself, since etcd and kube-apiserver would outlive it; with its clients gone
// it needs about a second.
func (s *system) force() {
	s.mu.Lock()
	children, bots := s.children, s.bots
	s.mu.Unlock()
	for _, b := range bots {
		b.Drop()
	}
	for _, c := range children {
		if c.Name() != controlPlaneCommand {
			c.Kill()
		}
	}
}

// cleanUp removes what was written. After a failure the logs stay, and it says
// where.
func (s *system) cleanUp(all bool) error {
	if all || s.options.verbose {
		return os.RemoveAll(s.work)
	}
	logs, err := filepath.Glob(filepath.Join(s.work, "*.log"))
	if err != nil || len(logs) == 0 {
		return os.RemoveAll(s.work)
	}
	fmt.Fprintf(os.Stderr, "The logs are kept: %s\n", strings.Join(logs, " "))

	return os.RemoveAll(s.temporary())
}

// prefixWriter puts a prefix before each line.
type prefixWriter struct {
	prefix  string
	next    io.Writer
	partial string
}

// Write passes whole lines on; it is called by one goroutine at a time.
func (w *prefixWriter) Write(p []byte) (int, error) {
	text := w.partial + string(p)
	end := strings.LastIndexByte(text, '\n') + 1
	w.partial = text[end:]
	var lines strings.Builder
	for line := range strings.Lines(text[:end]) {
		lines.WriteString(w.prefix + line)
	}
	_, err := io.WriteString(w.next, lines.String())

	return len(p), err
}
